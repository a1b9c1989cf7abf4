"""Where many images agree: what each part of one image contributes to its similarity with all of them, on average."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError
from diml.explanation.agreement_words import agreement_words, shared_lines, shared_region_lines
from diml.explanation.conditions import UNKNOWN, Conditions
from diml.explanation.files import write
from diml.explanation.images import FIRST, NamedImage
from diml.explanation.marks import Box, cell_box
from diml.explanation.numbers import cell_boxes, check_parts, chosen_cells, plain_box
from diml.explanation.part_sums import PartSums
from diml.explanation.shared_regions import SharedRegion, shared_regions

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from diml.data.collection import Skipped


@dataclass(frozen=True)
class SharedPart:
    """One part of the image and what it contributes to the similarity with the others.

    Attributes:
        cell: (row, column) of the part.
        box: `x0, y0, x1, y1` in pixels of the image; None where the geometry is unknown.
        contribution: the mean over the others of what the part contributes; may be negative.
        deviation: the standard deviation of the same over the others (divided by n); 0 where all of them agree.
    """

    cell: tuple[int, int]
    box: Box | None
    contribution: float
    deviation: float

    def to_dict(self) -> dict[str, Any]:
        box = plain_box(self.box)
        return {"cell": list(self.cell), "box": box, "contribution": self.contribution, "deviation": self.deviation}


@dataclass(frozen=True, eq=False)
class Agreement:
    """One image compared with many others: which of its parts they share.

    `explain_agreement` makes one of images.

    Args:
        sums: of the matches of the image with the others.
        image: the image.
        others: the other images, in the order of the matches; without them documents do not name them.
        against: what the others are called together, such as the name of their folder.
        conditions: what compared the images.
        skipped: images that could not be read, and why.

    Raises:
        UsageError: another number of others than of matches.

    >>> import torch
    >>> from diml.feature_maps import FeatureMaps
    >>> from diml.matching import Matcher
    >>> maps = FeatureMaps(torch.eye(4, dtype=torch.float64)[torch.tensor([[0, 1], [0, 1], [0, 2]])], (1, 2))
    >>> agreement = Agreement(PartSums.of(Matcher().tight().match(maps[[0, 0]], maps[1:])))
    >>> [(part.cell, round(part.contribution, 3), round(part.deviation, 3)) for part in agreement.parts()]
    [((0, 0), 0.5, 0.0), ((0, 1), 0.25, 0.25)]
    """

    sums: PartSums
    image: NamedImage = FIRST
    others: Sequence[NamedImage] = ()
    against: str = "images"
    conditions: Conditions = UNKNOWN
    skipped: Sequence[Skipped] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.others and len(self.others) != len(self):
            raise UsageError(f"expected {len(self)} other images, one for each match, got {len(self.others)}")

    def __len__(self) -> int:
        """How many other images there are."""
        return len(self.sums.similarities)

    @property
    def similarity(self) -> float:
        """The mean of the similarities with the others, -1..1."""
        return float(self.sums.similarities.mean())

    @property
    def heat(self) -> Float[Tensor, "h w"]:
        """The mean contribution of each part of the image; sums to the mean similarity less the residual."""
        return self.sums.contributions.mean(dim=0).reshape(self.sums.maps.grid)

    @property
    def residual(self) -> float:
        """The mean similarity minus what the parts contribute to it."""
        return self.similarity - float(self.sums.contributions.sum(dim=1).mean())

    def most_similar(self, n: int | None = None) -> list[int]:
        """The numbers of the n most similar others (all of them for None), the most similar first."""
        order: list[int] = self.sums.similarities.argsort(descending=True, stable=True)[:n].tolist()
        return order

    def parts(self, n: int | None = None) -> list[SharedPart]:
        """The n parts that contribute most (all of them for None), largest mean contribution first.

        For a part query only its chosen cells are listed.

        Raises:
            UsageError: `n` is below 1.
        """
        if n is not None:
            check_parts(n)
        cells = chosen_cells(self.sums.maps, self.sums.chosen)
        return [part for part in self._all_parts() if part.cell in cells][:n]

    def _all_parts(self) -> list[SharedPart]:
        maps, contributions = self.sums.maps, self.sums.contributions
        boxes: Sequence[Box | None] = cell_boxes(maps) or [None] * maps.parts
        means, deviations = contributions.mean(dim=0).tolist(), contributions.std(dim=0, correction=0).tolist()
        shared = [SharedPart(divmod(i, maps.grid[1]), boxes[i], means[i], deviations[i]) for i in range(maps.parts)]
        return sorted(shared, key=lambda part: -part.contribution)

    def regions(self, n: int = 5) -> list[SharedRegion]:
        """At most n regions of the image: neighbouring parts that the others share, largest mean contribution first.

        They are formed until they hold 70 % of the absolute contributions, see `diml.explanation.part_groups`; what the
        other parts add is `similarity` less the residual and the sum of the regions' contributions.

        Raises:
            UsageError: `n` is below 1.
        """
        check_parts(n)
        return shared_regions(self.sums, n)

    def counterpart_box(self, other: int, cell: tuple[int, int], size: tuple[int, int]) -> Box:
        """Where the strongest counterpart of a part lies in another image, of `size` where the geometry is unknown."""
        at = int(self.sums.counterparts[other, cell[0] * self.sums.maps.grid[1] + cell[1]])
        boxes = self.sums.boxes[other]
        return boxes[at] if boxes else cell_box(divmod(at, self.sums.grid[1]), self.sums.grid, size)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain Python values: what `diml explain --against --json` prints.

        Returns:
            `image, against, images, similarity, residual, regions, parts, each`, then `model, grid, weight, marginals,
            converged`, `part` of a part query, and `mass` below 1, `transport` and `bin_similarity` where it is not
            full. `similarity` is the mean over the `images` others; `parts` holds all parts of the image, the largest
            mean `contribution` first, with `cell`, `box` and
            `deviation`; contributions and `residual` sum to `similarity`. `each` names the others with their
            `similarity`, the most similar first.
        """
        similarities = self.sums.similarities.tolist()
        named = self.most_similar() if self.others else []
        return {
            "image": self.image.name,
            "against": self.against,
            "images": len(self),
            "similarity": self.similarity,
            "residual": self.residual,
            "regions": [region.to_dict() for region in self.regions()],
            "parts": [part.to_dict() for part in self._all_parts()],
            "each": [{"path": self.others[k].name, "similarity": similarities[k]} for k in named],
            "model": self.conditions.model,
            "grid": list(self.sums.maps.grid),
            "weight": float(self.sums.weight),
            "marginals": self.conditions.marginals,
            "converged": self.sums.converged,
            **self.conditions.unusual(),
        }

    def describe(self, parts: int | None = None) -> str:
        """How similar the others are, and a sentence for each of the regions that they share most.

        Args:
            parts: list so many of the parts that are shared most in place of the regions, from 1.

        Raises:
            UsageError: `parts` is below 1.
        """
        if parts is None:
            return "\n".join([*agreement_words(self).lines(), "", *shared_region_lines(self, self.regions())])
        shown = self.parts(parts)
        return "\n".join([*agreement_words(self, shown).lines(), "", *shared_lines(shown)])

    def draw(self, path: str | os.PathLike[str], parts: int | None = None) -> None:
        """Draw the parts that are shared most, and where they lie in the most similar others; see `agreement_figure`.

        Args:
            path: .png, .svg or .pdf.
            parts: draw so many of the parts that are shared most in place of the regions, from 1; 16 at most.

        Raises:
            UsageError: `parts` is below 1, another ending, or a folder that does not exist.
            ImageError: an image cannot be read.
            DimlError: the file cannot be written.
        """
        from diml.explanation.drawing import agreement_figure

        write(path, lambda: agreement_figure(self, parts))
