"""A training run: settings, the run folder, the loop, and the report of finished runs."""
