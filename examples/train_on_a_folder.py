"""Train a model on a folder of class folders, and use it. Needs the extra `train`.

    python examples/train_on_a_folder.py [FOLDER]

A few steps on the sample emoji with a small random network, so that it takes seconds; for a real run leave out the
settings of `optim` and `model`, or use a recipe. The run is written to FOLDER, by default a temporary one.
"""

import sys
import tempfile
from pathlib import Path

import diml
from diml.learning import load_settings, train

SAMPLE = Path(__file__).parents[1] / "sample" / "emoji"
SETTINGS = [
    f"data.spec={SAMPLE}",
    "data.size=64",
    "data.batch=16",
    "data.workers=0",
    "model.name=timm:test_resnet?weights=random",
    "model.dim=16",
    "model.grid=2x2",
    "loss.name=multisimilarity",
    "optim.epochs=2",
    "optim.batches_per_epoch=3",
]


def main(folder: Path) -> None:
    result = train(load_settings(None, SETTINGS), folder / "run")
    print(result.test.table())

    model = diml.StructuralModel.from_pretrained(folder / "run" / "model")
    print(f"similarity {model.similarity(SAMPLE / '1f408-cat' / 'noto.png', SAMPLE / '1f408-cat' / 'twemoji.png'):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
