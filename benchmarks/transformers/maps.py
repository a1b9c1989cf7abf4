"""Maps of a collection by each backbone and block, embedded once and kept in files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.defaults.tasks import Raw, raw_of
from benchmarks.dinov2.build import ARCHITECTURE
from diml.data import Collection, open_table
from diml.embedding import TimmBackbone, load_weights, noise_tokens
from diml.embedding.position import IMAGES
from diml.embedding.resampling import RESAMPLINGS
from diml.embedding.rollout import block_attentions, rolled
from diml.feature_maps import FeatureMaps
from diml.model import Source, StructuralModel, read_image

# Last blocks of the rollouts.
LASTS = (1, 2, 4)
BATCH = 8


@dataclass(frozen=True, eq=False)
class Embedded:
    """A collection embedded by one backbone, or by one block of it.

    Attributes:
        raw: maps without a head, and who asks and is searched.
        rollouts: by the number of last blocks, (n, r) shares of the cells; none for a network without attention.
        noise: (positions, c), the mean tokens of noise images on the backbone's own grid.
    """

    raw: Raw
    rollouts: dict[int, Tensor]
    noise: Tensor


@dataclass(frozen=True)
class Settings:
    """How maps are made, all of which is part of the names of their files.

    Attributes:
        folder: holds a folder for each collection, with its data.csv.
        cache: where maps are kept.
        grid: rows and columns of the matching grid.
        weights: the file of the DINOv2-S/14.
        size: height and width of its input.
        norm: whether the final norm is applied to its blocks.
        bf16: whether it computes in bfloat16 (autocast).
        classes: only so many classes of each half, to try; 0 for all.
    """

    folder: Path
    cache: Path
    grid: int
    weights: Path
    size: int
    norm: bool
    bf16: bool
    classes: int

    def store(self, name: str, model: str) -> Path:
        some = f"-{self.classes}-classes" if self.classes else ""
        ways = f"{'-normed' if self.norm else ''}{'-bf16' if self.bf16 else ''}"
        how = f"-{self.size}{ways}" if model.startswith("dinov2") else ""
        safe = re.sub(r"[^\w.]+", "-", model)
        return self.cache / f"{name}{some}-{safe}{how}-grid{self.grid}.pt"


def embedded(name: str, models: Sequence[str], settings: Settings) -> Iterator[tuple[str, Embedded]]:
    """Each model with the collection's maps; blocks of the transformer are embedded in one pass.

    Args:
        name: of the collection.
        models: what `StructuralModel.from_pretrained` takes, or `dinov2:BLOCK`.
    """
    collection = _some(open_table(settings.folder / name / "data.csv"), settings.classes)
    missing = [model for model in models if not settings.store(name, model).is_file()]
    blocks = sorted(int(model.partition(":")[2]) for model in missing if model.startswith("dinov2:"))
    if blocks:
        _embed_blocks(name, collection, blocks, settings)
    for model in models:
        if not settings.store(name, model).is_file():
            _embed(name, collection, model, settings)
        stored = torch.load(settings.store(name, model), weights_only=True)
        raw = raw_of(collection, FeatureMaps(stored["local"], (settings.grid, settings.grid)))
        yield model, Embedded(raw, stored["rollouts"], stored["noise"])


def _some(collection: Collection, classes: int) -> Collection:
    """The images of the first classes of each half."""
    if not classes:
        return collection
    raw = raw_of(collection, FeatureMaps(torch.zeros(len(collection), 1, 1), (1, 1)))
    chosen: set[str] = set()
    for half in (True, False):
        labels = dict.fromkeys(label for label, train in zip(raw.labels, raw.train, strict=True) if train == half)
        chosen.update(sorted(labels)[:classes])
    return collection.subset([at for at, label in enumerate(raw.labels) if label in chosen])


def _embed(name: str, collection: Collection, model: str, settings: Settings) -> None:
    loaded = StructuralModel.from_pretrained(model).with_weights(None).with_grid(settings.grid)
    found = []
    with _timed(f"{name}, {model}", len(collection)):
        for batch in loaded.stream(collection.file(at) for at in range(len(collection))):
            if batch.failures:
                raise batch.failures[0][1]
            found.append(batch.maps.local.half())
    noise = noise_tokens(loaded.encoder).mean(dim=0)
    _save(settings.store(name, model), {"local": torch.cat(found), "rollouts": {}, "noise": noise})


def _embed_blocks(name: str, collection: Collection, blocks: list[int], settings: Settings) -> None:
    transformer = Transformer(blocks, settings)
    local: dict[int, list[Tensor]] = {block: [] for block in blocks}
    rollouts: dict[int, dict[int, list[Tensor]]] = {block: {last: [] for last in LASTS} for block in blocks}
    with _timed(f"{name}, dinov2:{blocks[0]} to {blocks[-1]}", len(collection)):
        for at in range(0, len(collection), BATCH):
            files = [collection.file(k) for k in range(at, min(at + BATCH, len(collection)))]
            for block, (maps, weights) in transformer.maps(files).items():
                local[block].append(maps)
                for last, mass in weights.items():
                    rollouts[block][last].append(mass)
    noise = transformer.noise()
    for block in blocks:
        stored = {
            "local": torch.cat(local[block]),
            "rollouts": {last: torch.cat(masses) for last, masses in rollouts[block].items()},
            "noise": noise[block],
        }
        _save(settings.store(name, f"dinov2:{block}"), stored)


class Transformer:
    """The DINOv2-S/14, giving several blocks and their rollouts in one pass."""

    def __init__(self, blocks: Sequence[int], settings: Settings) -> None:
        self.blocks, self.grid, self.norm, self.bf16 = list(blocks), settings.grid, settings.norm, settings.bf16
        self.backbone = TimmBackbone(ARCHITECTURE, size=(settings.size, settings.size))
        load_weights(self.backbone, settings.weights)
        self.preprocessing = self.backbone.preprocessing()

    def maps(self, files: Sequence[Source]) -> dict[int, tuple[Tensor, dict[int, Tensor]]]:
        """By block: (n, r, c) float16 maps, and the shares of the cells by rollouts of the last blocks up to it."""
        ready = self.preprocessing
        pixels = ready.normalise(torch.stack([ready(read_image(file, wanted=ready.wanted)).values for file in files]))
        outputs, attentions = self._outputs(pixels)
        found = {}
        for block, output in outputs.items():
            features = output.reshape(*output.shape[:2], *self.backbone.model.patch_embed.grid_size)
            local = RESAMPLINGS["area"](features, (self.grid, self.grid)).flatten(2).mT.half()
            masses = {
                last: rolled(attentions[block - last + 1 : block + 1], self.backbone).weights((self.grid, self.grid))
                for last in LASTS
            }
            found[block] = local, masses
        return found

    def noise(self) -> dict[int, Tensor]:
        """By block: (positions, c), the mean tokens of noise images."""
        generator = torch.Generator().manual_seed(0)
        total: dict[int, Tensor] = {}
        for _ in range(IMAGES):
            noise = torch.rand(1, 3, *self.preprocessing.size, generator=generator)
            for block, output in self._outputs(self.preprocessing.normalise(noise))[0].items():
                total[block] = total.get(block, torch.zeros(())) + output[0].mT / IMAGES
        return total

    @torch.no_grad()
    def _outputs(self, pixels: Tensor) -> tuple[dict[int, Tensor], list[Tensor]]:
        """(n, c, t) patch tokens by block, and the mixed attention of all blocks."""
        model = self.backbone.model
        seen: dict[int, Tensor] = {}

        def keeper(block: int) -> Any:
            def keep(_: nn.Module, __: Any, output: Tensor) -> None:
                tokens = model.norm(output) if self.norm else output
                seen[block] = tokens[:, model.num_prefix_tokens :].mT.float()

            return keep

        handles = [model.blocks[block].register_forward_hook(keeper(block)) for block in self.blocks]
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
                attentions = block_attentions(self.backbone, pixels, len(model.blocks))
        finally:
            for handle in handles:
                handle.remove()
        return seen, attentions


def _save(file: Path, stored: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    torch.save(stored, unfinished)
    unfinished.replace(file)


@contextmanager
def _timed(what: str, images: int) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    print(f"<!-- {what}: {images} images in {seconds:.0f} s, {images / seconds:.1f} a second -->", flush=True)
