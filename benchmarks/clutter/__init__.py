"""Clutter: clean queries, and a gallery of the same objects on photographs, some of them occluded."""
