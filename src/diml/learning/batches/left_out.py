"""The images that a run leaves out: listed once, and the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from diml.data import Skipped, printable
from diml.learning.batches.gathering import gather_objects


class LeftOut:
    """Images that cannot be read or are gone, by their path in the collection.

    What a process finds counts from the next `join` on, which all processes call together: until then, other images
    stand in. So the batches of an epoch depend on what was known when it began, which a checkpoint stores.

    Args:
        report: called with the images that were not reported before.

    >>> left_out = LeftOut(print)
    >>> left_out.note({"a.png": "a.png: is truncated"})
    >>> left_out.paths
    []
    >>> left_out.join()
    [Skipped(path='a.png', reason='a.png: is truncated')]
    >>> left_out.note({"a.png": "a.png: is truncated"}), left_out.join(), left_out.paths
    (None, None, ['a.png'])
    """

    def __init__(self, report: Callable[[Sequence[Skipped]], object]) -> None:
        self._report = report
        self._known: dict[str, str] = {}
        self._found: dict[str, str] = {}

    def note(self, found: Mapping[str, str]) -> None:
        """Note images by path, each with its reason in words; each image keeps its first reason."""
        self._found = {**found, **self._found}

    def join(self) -> None:
        """Take over what all processes have found, and report what is new."""
        for found in gather_objects(self._found):
            self.note(found)
        self.settle()

    def settle(self) -> None:
        """Take over what this process has found, where the others do nothing more."""
        new = {path: self._found[path] for path in sorted(self._found.keys() - self._known.keys())}
        self._found = {}
        self._known |= new
        if new:
            self._report(_skipped(new))

    @property
    def paths(self) -> list[str]:
        """The images that count as left out."""
        return list(self._known)

    @property
    def skipped(self) -> list[Skipped]:
        """The images that count as left out, safe to print."""
        return _skipped(self._known)

    @property
    def state(self) -> dict[str, str]:
        """Path and reason of every image, for a checkpoint."""
        return dict(self._known)


def _skipped(images: Mapping[str, str]) -> list[Skipped]:
    return [Skipped(printable(path), reason) for path, reason in images.items()]
