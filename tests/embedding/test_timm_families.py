"""One small model of every family in timm: what it returns is a feature map, or one sentence says that it is not.

`python tests/embedding/test_timm_families.py` prints the table of families, and a summary; with `--backend openvino`
also which of them that backend runs, with the maps of PyTorch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import pytest
import timm
import torch

from diml.embedding import Inference, TimmBackbone
from diml.errors import ModelError

SMALL = r"test|tiny|nano|atto|pico|femto|small|mini|xxs|xs|_s\b|18|s0|m0|b0|050|035"
CANDIDATES = 6


def parameters(name: str) -> int:
    """Counted without making the weights; infinite where the model cannot be built so."""
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())
    except Exception:
        return sys.maxsize


def smallest(family: str) -> tuple[str, int]:
    names = timm.list_models(module=family)
    small = [name for name in names if re.search(SMALL, name)] or names
    sizes = {name: parameters(name) for name in small[:CANDIDATES]}
    return min(sizes.items(), key=lambda item: item[1])


@dataclass(frozen=True)
class Family:
    """What came of a family: the shape of the map, or the sentence of the refusal.

    `follows` says whether the change of the map moves with a square in the image. Random weights that mix all places,
    as global attention does, need not show that. `engine` is what another backend makes of it: "yes", or why not.
    """

    name: str
    model: str
    parameters: int
    shape: tuple[int, ...] = ()
    by: str = ""
    follows: bool = False
    refusal: str = ""
    engine: str = ""


@torch.no_grad()
def examine(family: str) -> Family:
    """Build the smallest model, check its map, or give the refusal.

    Raises:
        AssertionError: the map is not finite, or depends on the batch.
    """
    model, count = smallest(family)
    torch.manual_seed(0)
    try:
        backbone = TimmBackbone(model)
        pixels = views(backbone.preprocessing().size)
        maps = backbone(pixels)
    except ModelError as error:
        return Family(family, model, count, refusal=str(error))
    assert maps.ndim == 4
    assert len(maps) == 3
    assert maps.shape[2] * maps.shape[3] > 1
    assert maps.isfinite().all()
    alone = backbone(pixels[:1])
    torch.testing.assert_close(alone, maps[:1], atol=2e-3 * float(maps.abs().max()), rtol=0)
    blank, left, right = maps
    follows = centre_x(left - blank) < centre_x(right - blank)
    by = "forward_intermediates" if backbone._takes_intermediates else "forward_features"
    return Family(family, model, count, tuple(maps.shape[1:]), by, follows)


@torch.no_grad()
def run_by(backend: str, found: Family) -> str:
    """Whether a backend runs the model of a family with the maps of PyTorch: "yes", or the reason."""
    torch.manual_seed(0)
    backbone = TimmBackbone(found.model).eval()
    pixels, runs = views(backbone.preprocessing().size), Inference(backend)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        runs(backbone, pixels[:2])
        right, maps = backbone(pixels), runs(backbone, pixels)
    if runs.used(backbone) == backend:
        far = float((right - maps).abs().max() / right.abs().max())
        return "yes" if far <= 1e-3 else f"maps differ by {far:.1e} of the largest number"
    reasons = [str(each.message) for each in said if "is not used" in str(each.message)]
    return reasons[0].split("by PyTorch: ")[-1][:80]


def views(size: tuple[int, int]) -> torch.Tensor:
    """Noise, and the same noise with a bright square on the left, and on the right."""
    height, width = size
    plain = torch.randn(3, height, width, generator=torch.Generator().manual_seed(1)) * 0.5
    left, right = plain.clone(), plain.clone()
    rows, side = slice(height // 4, 3 * height // 4), width // 4
    left[:, rows, width // 16 : width // 16 + side] += 4
    right[:, rows, width - width // 16 - side : width - width // 16] += 4
    return torch.stack([plain, left, right])


def centre_x(change: torch.Tensor) -> float:
    """Mean column of the change of a map (c, h, w), in columns."""
    weight = change.square().sum(dim=(0, 1))
    return float((weight * torch.arange(len(weight))).sum() / weight.sum())


@pytest.mark.long
@pytest.mark.parametrize("family", timm.list_modules())
def test_a_family_gives_a_map_or_a_sentence(family):
    found = examine(family)
    assert found.shape or found.refusal
    assert "\n" not in found.refusal


@pytest.mark.parametrize(
    ("model", "shape"),
    [("crossvit_tiny_240", (192, 14, 14)), ("coat_tiny", (152, 7, 7)), ("pit_ti_224", (256, 7, 7))],
)
@pytest.mark.slow
def test_models_whose_features_are_no_map_give_the_map_of_their_last_stage(model, shape):
    backbone = TimmBackbone(model)
    with torch.no_grad():
        assert backbone(torch.randn(2, 3, *backbone.preprocessing().size)).shape == (2, *shape)


def test_what_was_a_map_stays_the_same_map():
    backbone = TimmBackbone("test_vit")
    pixels = torch.randn(1, 3, *backbone.preprocessing().size)
    with torch.no_grad():
        tokens = backbone.model.forward_features(pixels)[:, 1:]
        assert torch.equal(backbone(pixels).flatten(2).mT, tokens)


def test_a_model_without_any_map_is_refused_in_a_sentence():
    class Vectors(torch.nn.Module):
        def forward_features(self, pixels):
            return pixels.mean(dim=(2, 3))

    backbone = TimmBackbone("test_vit")
    backbone.model = Vectors()
    with pytest.raises(ModelError, match=r"timm:test_vit: expected a feature map, got a tensor of shape \(1, 3\)"):
        backbone(torch.randn(1, 3, 32, 32))


def summary(families: list[Family]) -> str:
    """A Markdown table of how the families give their maps; few names are listed."""
    ways: dict[str, list[str]] = {"forward_features": [], "forward_intermediates": [], "refused in a sentence": []}
    for found in families:
        ways[found.by or "refused in a sentence"].append(found.name)
    lines = ["| a map by | families | |", "|---|---:|---|"]
    for way, names in ways.items():
        lines.append(f"| {way} | {len(names)} | {', '.join(names) if len(names) <= 10 else ''} |")
    return "\n".join(lines)


def print_line(found: Family) -> None:
    shown = "x".join(map(str, found.shape)) or found.refusal
    cells = (found.name, found.model, f"{found.parameters / 1e6:.1f} M", shown, found.by, found.follows, found.engine)
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def examined(family: str, backend: str | None) -> Family:
    found = examine(family)
    return replace(found, engine=run_by(backend, found)) if backend and found.shape else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("openvino", "onnx"))
    backend = parser.parse_args().backend
    print("| family | model | parameters | map | by | follows | engine |\n|---|---|---:|---|---|---|---|")
    families = []
    names = timm.list_modules()
    # In processes of a few families each, so that what a library keeps of one does not add to that of all others.
    for start in range(0, len(names), 4):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            for found in pool.map(partial(examined, backend=backend), names[start : start + 4]):
                families.append(found)
                print_line(found)
    print(f"\n{summary(families)}\n\ntimm {timm.__version__}.")
    if backend:
        others = [found for found in families if found.engine != "yes"]
        print(
            f"\nRun by {backend}: {len(families) - len(others)} of {len(families)}.\n\n| family | why not |\n|---|---|"
        )
        for found in others:
            print(f"| {found.name} | {found.engine} |")


if __name__ == "__main__":
    main()
