"""The error of a benchmark's build."""


class BuildError(Exception):
    """Something is missing or wrong that the user can install or correct."""
