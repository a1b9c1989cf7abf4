"""The answers of diml explain: compare, draw, print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diml.cli.options import print_json, progress_bar, report_skipped
from diml.data import printable
from diml.errors import DatasetError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from diml.embedding import Rollout
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, Region
    from diml.model import StructuralModel


def is_page(out: Path) -> bool:
    """Whether a file to write is an HTML page."""
    return out.suffix.lower() in (".html", ".htm")


@dataclass(frozen=True)
class Comparison:
    """A model, the image that is asked about, and what of it was chosen.

    Attributes:
        maps: of the image.
        weights: (1, r) of its cells, where a part was chosen.
        part: the part as it stands in the JSON.
        rolled: attention rolled out over this image and the others, in the order in which they were named.
        blocks: over how many blocks.
    """

    model: StructuralModel
    image: Path
    maps: FeatureMaps
    weights: Tensor | None = None
    part: dict[str, Any] = field(default_factory=dict)
    rolled: Rollout | None = None
    blocks: int = 0

    @classmethod
    def of(cls, model: StructuralModel, image: Path, regions: Sequence[Region], mask: Path | None) -> Comparison:
        maps = model.encode(image)
        if not regions and mask is None:
            return cls(model, image, maps)
        from diml.data import open_mask
        from diml.matching import mask_weights, region_weights
        from diml.model import QueryPart

        weights = region_weights(maps, regions) if mask is None else mask_weights(maps, open_mask(mask))
        part = QueryPart(weights.reshape(maps.grid), tuple(regions), None if mask is None else str(mask))
        return cls(model, image, maps, weights, part.to_dict())

    @classmethod
    def rolled_out(cls, model: StructuralModel, images: Sequence[Path], blocks: int) -> Comparison:
        from diml.model import rollout_of

        rolled = rollout_of(model, images, blocks)
        return cls(model, images[0], model.encode(images[0]), rolled=rolled, blocks=blocks)

    @property
    def chosen(self) -> list[int] | None:
        """Numbers of the cells that were chosen; None for the whole image."""
        return None if self.weights is None else self.weights[0].nonzero()[:, 0].tolist()

    def match(self, others: FeatureMaps, named: int = 1) -> Match:
        """The image matched with each of the others, in float64; `named` is their place on the command line."""
        if self.rolled is not None:
            mu = self.rolled.weights(self.model.grid)
            weighed = self.model.with_matcher(marginals=(mu[:1], mu[named : named + 1]))
            return weighed.explain(self.maps, others)
        maps = self.maps[[0] * len(others)]
        if self.weights is None:
            return self.model.explain(maps, others)
        import torch

        from diml.matching import find_part

        a, b = (each.detach().to("cpu").to(torch.float64) for each in (maps, others))
        return find_part(a, b, self.weights.expand(len(others), -1), eps=self.model.matcher.eps)

    def stated(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with what was asked for beyond the usual."""
        mass = self.model.matcher.mass
        return {
            **document,
            **({"part": self.part} if self.part else {}),
            **({"mass": mass} if mass < 1 and not self.part else {}),
        }

    @property
    def marginals(self) -> str:
        """What weighed the parts, by name."""
        if self.rolled is not None:
            return f"rollout:{self.blocks}"
        return str(self.model.matcher.marginals) if self.weights is None else "part"

    def patches(self, match: Match) -> dict[str, Any]:
        """What each patch of either image brings, where attention was rolled out; sums to the contributions."""
        if self.rolled is None:
            return {}
        from diml.model import spread

        spreaded = spread(match, self.rolled[0:1], self.rolled[1:2])[0]
        h, w = self.rolled.grid
        a, b = (spreaded.sum(dim=axis).reshape(h, w).tolist() for axis in (1, 0))
        return {"patches": {"a": a, "b": b}}


@dataclass(frozen=True)
class Answer:
    """What to do with an answer: write it to `out`, and print it, as JSON or in words."""

    compared: Comparison
    parts: int
    out: Path | None
    json: bool

    def why(self, b: Path) -> None:
        from diml.explanation import describe, describe_pairs, explanation_document, strongest_pairs

        asked = self.compared
        match = asked.match(asked.model.encode(b))
        self._write_pair(match, b)
        if self.json:
            names = (str(asked.image), str(b), asked.model.name, asked.marginals)
            print_json(asked.stated({**explanation_document(match, *names), **asked.patches(match)}))
            return
        shown = strongest_pairs(match, self.parts, asked.chosen)
        self._say([*describe(match, shown, asked.chosen), "", *describe_pairs(shown)])

    def _write_pair(self, match: Match, b: Path) -> None:
        from diml.explanation import draw_match, match_page, save_page

        image, chosen = self.compared.image, self.compared.chosen
        if self.out is not None and is_page(self.out):
            save_page(match_page(match, image, b, parts=self.parts, chosen=chosen), self.out)
        elif self.out is not None:
            self._save(draw_match(match, image, b, parts=self.parts, chosen=chosen))

    def why_by(self, name: str, b: Path) -> None:
        from diml.explanation import (
            describe_method,
            describe_rival,
            describe_rival_parts,
            draw_rival,
            explain_by,
            rival_document,
        )
        from diml.explanation.methods import methods

        asked = self.compared
        (method,) = methods([name])
        found = explain_by(method, asked.model, asked.image, b, (asked.maps, asked.model.encode(b)))
        if self.out is not None:
            self._save(draw_rival(found, asked.image, b))
        if self.json:
            print_json(asked.stated(rival_document(found, str(asked.image), str(b))))
            return
        self._say([*describe_method(name), *describe_rival(found), "", *describe_rival_parts(found, self.parts)])

    def why_rather(self, a: Path, b: Path) -> None:
        from diml.explanation import Contrast, contrast_document, describe_contrast, describe_leads, draw_contrast

        asked = self.compared
        contrast = Contrast(*(asked.match(asked.model.encode(image), k) for k, image in enumerate((a, b), start=1)))
        if self.out is not None:
            self._save(draw_contrast(contrast, asked.image, a, b, parts=self.parts, chosen=asked.chosen))
        if self.json:
            names = (str(asked.image), str(a), str(b), asked.model.name, asked.marginals)
            print_json(asked.stated(contrast_document(contrast, *names)))
            return
        shown = contrast.parts(self.parts, asked.chosen)
        named = [f"A: {printable(a)}", f"B: {printable(b)}"]
        self._say([*named, *describe_contrast(contrast, shown, asked.chosen), "", *describe_leads(shown)])

    def where_they_agree(self, folder: Path, others: Sequence[Path]) -> None:
        from diml.explanation import (
            agreement,
            agreement_document,
            describe_agreement,
            describe_shared,
            draw_agreement,
        )

        asked, read = self.compared, list[Path]()
        found = agreement(self._matches(others, read))
        if self.out is not None:
            parts, chosen = self.parts, asked.chosen
            self._save(draw_agreement(found, asked.image, read, parts=parts, against=folder.name, chosen=chosen))
        if self.json:
            names = [str(file) for file in read]
            document = agreement_document(
                found, str(asked.image), str(folder), names, asked.model.name, asked.marginals
            )
            print_json(asked.stated(document))
            return
        shown = found.parts(self.parts, asked.chosen)
        self._say([*describe_agreement(found, shown, asked.chosen), "", *describe_shared(shown)])

    def _matches(self, others: Sequence[Path], read: list[Path]) -> Iterator[Match]:
        """Match after match; what was read is noted, what could not be is told."""
        from diml.data.collection import Skipped

        skipped: list[Skipped] = []
        with progress_bar("comparing") as told:
            for batch in self.compared.model.stream(others):
                read += [others[k] for k in batch.indices]
                skipped += [Skipped(str(others[k]), str(reason)) for k, reason in batch.failures]
                told(len(read) + len(skipped), len(others))
                if batch.indices:
                    yield self.compared.match(batch.maps)
        report_skipped(skipped)
        if not read:
            raise DatasetError(f"none of the {len(others)} images to compare with could be read; see the reasons above")

    def _save(self, figure: Figure) -> None:
        from diml.explanation import save_picture

        assert self.out is not None
        save_picture(figure, self.out)

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            typer.echo(line)
        if self.out is not None:
            typer.echo(f"\nThe {'page' if is_page(self.out) else 'picture'} is in {printable(self.out)}")
