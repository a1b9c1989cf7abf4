"""Groups: images that are connected by pairs, directly or over others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from diml.search.pairs.found import Pair


@dataclass(frozen=True)
class Group:
    """Images of which each is alike to another one of the group; two that are not alike may be joined by others.

    Attributes:
        paths: of the images, sorted.
    """

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


class Groups:
    """The connected components of pairs, which are added one by one and not kept.

    >>> groups = Groups()
    >>> for a, b in [("c", "d"), ("a", "b"), ("e", "d")]:
    ...     groups.join(a, b)
    >>> [group.paths for group in groups.largest_first()]
    [('c', 'd', 'e'), ('a', 'b')]
    """

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._above: dict[str, str] = {}
        for pair in pairs:
            self.join(pair.a, pair.b)

    def join(self, a: str, b: str) -> None:
        """Note that two images, by their paths, are alike."""
        first, second = self._root(a), self._root(b)
        self._above[second] = first

    def largest_first(self) -> list[Group]:
        """The groups, those of the same size by their first path."""
        members: dict[str, list[str]] = {}
        for path in sorted(self._above):
            members.setdefault(self._root(path), []).append(path)
        return sorted((Group(tuple(paths)) for paths in members.values()), key=lambda group: (-len(group), group.paths))

    def _root(self, path: str) -> str:
        self._above.setdefault(path, path)
        while (above := self._above[path]) != path:
            self._above[path] = self._above[above]  # halves the way for the next time
            path = above
        return path
