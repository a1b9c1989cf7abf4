"""What embedding in bfloat16 or in whole numbers of 8 bits costs, in retrieval, and how much faster it is.

    python -m benchmarks.precision --data DATA [--collections emoji ...]

DATA is as for benchmarks.defaults.choose. Images are embedded by lite0 in float32 (openvino), in bfloat16 (torch-bf16
and openvino-bf16), and in int8: the network in the ONNX format with its weights and activations quantised by ONNX
Runtime (one scale a channel, ranges of 128 images of the training half), run by OpenVINO. Recall@1 / MAP@R in percent
by the defaults of an untrained model, with queries and gallery embedded alike, and with queries in float32. Errors are
those of the features: one minus the cosine with PyTorch's, mean over the locations of 64 images, without those where
all features are zero. Images a second are of the network alone, in batches of 32, medians of 7, taken in turn.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.codes import MATCHER, WEIGHTS, CodedRanking
from benchmarks.defaults.compare import percent
from benchmarks.defaults.scores import Quality, Ranking
from benchmarks.defaults.tasks import NAMES, Fitted, Raw, raw_maps
from diml.data import Located, open_table
from diml.embedding import REDUCED, Inference, lite0
from diml.embedding.inference.onnx_format import onnx_bytes
from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.model import StructuralModel

BATCH, CALIBRATED, COMPARED, ROUNDS = 32, 128, 64, 7
Run = Callable[[Tensor], Tensor]


class Quantised(Inference):
    """Runs one network that was quantised before."""

    def __init__(self, run: Run) -> None:
        super().__init__("torch")
        self._run = run

    def __call__(self, backbone: torch.nn.Module, pixels: Tensor) -> Any:
        return self._run(pixels)


def quantised(pixels: Tensor) -> Run:
    """The int8 network, calibrated on some images."""
    import openvino
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(torch.split(pixels, BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"pixels": batch.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{name}.onnx" for name in ("plain", "prepared", "int8")]
        Path(files[0]).write_bytes(onnx_bytes(lite0().eval(), pixels[:1]))
        quant_pre_process(files[0], files[1], skip_symbolic_shape=True)
        how = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
        quantize_static(files[1], files[2], Images(), quant_format=QuantFormat.QDQ, **how)
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.Core().compile_model(files[2], "CPU", settings).create_infer_request()
    return lambda pixels: torch.from_numpy(np.array(request.infer({0: pixels.contiguous().numpy()})[0]))


def pixels_of(model: StructuralModel, files: list[Path | Located]) -> Tensor:
    shown = [model.encoder.preprocessing(model.read(file)).values for file in files]
    return model.encoder.preprocessing.normalise(torch.stack(shown))


def maps_of(model: StructuralModel, files: list[Path | Located], store: Path) -> Tensor:
    """(n, r, c) float16 maps without head and weights; kept in a file, and read from it the next time."""
    if store.is_file():
        stored: Tensor = torch.load(store, weights_only=True)
        return stored
    blocks = [batch.maps.local.half() for batch in model.stream(files)]
    store.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.cat(blocks), store)
    return torch.cat(blocks)


def judged(exact: Raw, raw: Raw) -> tuple[Quality, Quality]:
    """Of the test half: queries and gallery embedded alike, and queries in float32; the head is the gallery's."""
    fitted, test = Fitted(raw, raw.train), [not train for train in raw.train]
    task = fitted.task(test, WEIGHTS)
    alike = Ranking(task)
    at = torch.tensor([a and b for a, b in zip(test, raw.query, strict=True)]).nonzero()[:, 0]
    mixed = CodedRanking(replace(task, queries=fitted.weighted(exact.maps[at], WEIGHTS)), alike, task.gallery)
    first, second = (each.quality(each.structural(MATCHER), MATCHER.weight) for each in (alike, mixed))
    return first, second


def speeds(runs: dict[str, Callable[[Tensor], Any]], pixels: Tensor) -> dict[str, float]:
    """Images a second of each."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(pixels)
            if turn:
                taken[name].append(time.perf_counter() - start)
    return {name: len(pixels) / statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--collections", nargs="+", default=list(NAMES))
    options = parser.parse_args()
    cache = options.cache or options.data / "maps"
    plain = StructuralModel.from_pretrained("lite0").with_weights(None).with_grid(4).eval()
    ways = ("openvino", *REDUCED, "int8")
    cells: dict[str, list[str]] = {way: [] for way in ways}
    losses: dict[str, list[float]] = {way: [] for way in ways}
    for name in options.collections:
        exact = raw_maps(name, options.data, cache)
        collection = open_table(options.data / name / "data.csv")
        files = [collection.file(at) for at in range(len(collection))]
        fitted_on = [file for file, train in zip(files, exact.train, strict=True) if train]
        calibration = pixels_of(plain, fitted_on[:: max(1, len(fitted_on) // CALIBRATED)][:CALIBRATED])
        int8 = quantised(calibration)
        models = {
            "openvino": plain.with_backend("openvino"),
            **{backend: plain.with_backend(backend) for backend in REDUCED},
            "int8": plain.replace(encoder=plain.encoder.replace(inference=Quantised(int8))),
        }
        for way, model in models.items():
            maps = FeatureMaps(maps_of(model, files, cache / f"{name}-4-{way}.pt"), exact.maps.grid)
            alike, mixed = judged(exact, replace(exact, maps=maps))
            if way == "openvino":
                base = alike.recall.mean()
            cells[way].append(f"{percent(alike)}; {percent(mixed)}")
            losses[way].append(100 * (alike.recall.mean() - base))
    pixels = calibration[:COMPARED]
    backbone = plain.encoder.backbone
    runs: dict[str, Callable[[Tensor], Any]] = {
        way: functools.partial(model.encoder.inference, backbone) for way, model in models.items()
    }
    with torch.no_grad():
        right = backbone(pixels)
        some = (right != 0).any(dim=1)
        errors = {
            way: 1 - F.cosine_similarity(run(pixels), right, dim=1)[some].mean().item() for way, run in runs.items()
        }
        torch_runs = functools.partial(plain.with_backend("torch").encoder.inference, backbone)
        rates = speeds({"torch": torch_runs, **runs}, pixels[:BATCH])
    rows = [
        [
            way,
            f"{errors[way]:.4f}",
            *cells[way],
            f"{statistics.mean(losses[way]):+.1f}",
            f"{rates[way]:.0f}",
        ]
        for way in ways
    ]
    header = ["", "error", *options.collections, "Recall@1, mean", "images/s"]
    threads = torch.get_num_threads()
    print(f"Embedded alike; queries in float32. PyTorch {rates['torch']:.0f} images/s, {threads} threads.\n")
    print(table(header, rows))


if __name__ == "__main__":
    main()
