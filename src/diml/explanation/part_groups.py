"""Neighbouring parts of one image, grouped by a number that each of them has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

# A part joins its neighbours' group if its value is at least this share of the group's largest value.
SHARE = 0.5
# No group has more than this share of the parts (one part is always allowed).
MOST = 1 / 3
# Groups are formed until they hold this share of the sum of all absolute values.
ENOUGH = 0.7


def part_groups(
    values: Sequence[float], grid: tuple[int, int], n: int, among: Collection[int] | None = None
) -> list[list[int]]:
    """At most n groups of neighbouring parts with large values of one sign.

    A group grows from the part with the largest absolute value that is left: the largest neighbour of the same sign
    joins, again and again, while it has at least half of that value and the group has less than a third of the parts.
    No more groups are formed once they hold 70 % of the sum of absolute values.

    Args:
        values: of all parts, row by row.
        grid: rows and columns.
        n: the most groups, from 1.
        among: the numbers of the parts that may be in a group; all of them for None.

    Returns:
        The numbers of each group's parts in ascending order; connected and disjoint, in the order of growth.

    >>> part_groups([5, 4, 0, -6, 1, 3], (2, 3), 2)
    [[3], [0, 1]]
    """
    left = set(range(len(values)) if among is None else among)
    most = max(1, int(MOST * len(values) + 1e-9))
    total = sum(abs(values[i]) for i in left)
    groups: list[list[int]] = []
    held = 0.0
    while left and len(groups) < n and held < ENOUGH * total:
        group = _grown(max(sorted(left), key=lambda i: abs(values[i])), values, grid, left, most)
        left -= set(group)
        held += sum(abs(values[i]) for i in group)
        groups.append(sorted(group))
    return groups


def _grown(seed: int, values: Sequence[float], grid: tuple[int, int], left: Collection[int], most: int) -> list[int]:
    sign = 1 if values[seed] > 0 else -1
    least = SHARE * abs(values[seed])
    group = [seed]
    while len(group) < most:
        near = {j for i in group for j in _neighbours(i, grid) if j in left and j not in group}
        candidates = [j for j in sorted(near) if sign * values[j] >= least and values[j] != 0]
        if not candidates:
            break
        group.append(max(candidates, key=lambda j: sign * values[j]))
    return group


def _neighbours(i: int, grid: tuple[int, int]) -> list[int]:
    row, column = divmod(i, grid[1])
    beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [r * grid[1] + c for r, c in beside if 0 <= r < grid[0] and 0 <= c < grid[1]]
