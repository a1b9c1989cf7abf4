"""Backbones: anything that turns pixels into a map of features, (n, 3, H, W) -> (n, c, h, w)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diml.embedding.preprocessing import Preprocessing
from diml.embedding.weights import fit_names, read_weights
from diml.errors import ModelError, first_line
from diml.files import AnyPath

# Largest height and width of an input, in pixels.
LARGEST = 4096


class TimmBackbone(nn.Module):
    """A timm model up to its last feature map: CNNs as they are, ViTs with their patch tokens as a grid.

    Class and register tokens are left out, so that the pooled vector is the mean of what is matched. The map is the
    output of timm's `forward_features`; where that is not a map, the last of timm's `forward_intermediates`. With a
    `block` it is that block's output, and the blocks after it are removed.

    Args:
        architecture: a timm model name, such as `resnet50` or `vit_small_patch16_224`.
        from_hub: download the weights.
        block: which of timm's `forward_intermediates`, from 0: a block of a ViT, a stage of a CNN; None for the end.
        norm: with a block, apply the model's final norm to its output, which a ViT otherwise applies to its last block
            alone.
        size: height and width of the input in pixels; None for those that the model was trained with. Position
            embeddings are resampled where the model has them.

    Raises:
        ModelError: timm does not know the name, the model has no such block, no such norm, or cannot have this size; at
            the first image, the model does not give a feature map.

    >>> backbone = TimmBackbone("test_vit", block=2)
    >>> len(backbone.model.blocks), backbone(torch.zeros(1, 3, 160, 160)).shape
    (3, torch.Size([1, 64, 10, 10]))
    """

    def __init__(
        self,
        architecture: str,
        *,
        from_hub: bool = False,
        block: int | None = None,
        norm: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if norm and block is None:
            raise ModelError(f"timm:{architecture}: norm is for a block; give block too, or leave norm out")
        self.architecture = architecture
        self.block = block
        self.norm = norm
        self.size = size
        if size is not None and not all(1 <= side <= LARGEST for side in size):
            raise ModelError(f"timm:{architecture}: expected a size of 1 to {LARGEST} pixels, got {size[0]}x{size[1]}")
        self.model: Any = _made(architecture, from_hub, size).eval()
        if size is not None:
            _check_patches(self.model, architecture, size)
        if block is not None:
            _prune(self.model, architecture, block, norm)
        self._takes_intermediates = False

    @property
    def spec(self) -> dict[str, Any]:
        """What builds the same network again; options that are not used are left out."""
        options = {"block": self.block, "norm": self.norm or None, "size": self.size and list(self.size)}
        given = {name: value for name, value in options.items() if value is not None}
        return {"kind": "timm", "architecture": self.architecture, **given}

    def preprocessing(self) -> Preprocessing:
        """The input size, statistics and interpolation that the model was trained with; `size` where one was given."""
        from timm.data.config import resolve_model_data_config

        config: dict[str, Any] = resolve_model_data_config(self.model)  # type: ignore[no-untyped-call]
        _, height, width = config["input_size"]
        return Preprocessing(
            size=self.size or (height, width),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"] if config["interpolation"] != "random" else "bicubic",
            crop=config["crop_pct"],
        )

    @torch.no_grad()
    def check(self) -> None:
        """Run a noise image through a network that was built with a block or a size, which not every model can be.

        Raises:
            ModelError: the model fails, gives no map, or does not apply its norm to this block.
        """
        height, width = self.preprocessing().size
        pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        try:
            found = self(pixels)
        except ModelError:
            raise
        except Exception as error:  # of any model
            raise ModelError(
                f"timm:{self.architecture}: cannot be run with these options ({first_line(error)}); leave block and "
                "size out, or choose another model"
            ) from error
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise ModelError(
                f"timm:{self.architecture}: expected a feature map, got {_shape(found)}; choose another block"
            )
        if self.norm and torch.equal(found, self._intermediate(pixels, norm=False)):
            raise _no_norm(self.architecture)

    def _intermediate(self, pixels: Float[Tensor, "n 3 H W"], norm: bool) -> Float[Tensor, "n c h w"]:
        found: Tensor = self.model.forward_intermediates(
            pixels, indices=[self.block], norm=norm, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )[-1]
        return found

    def forward(self, pixels: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n c h w"]:
        if self.block is not None:
            return self._intermediate(pixels, self.norm)
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


def _made(architecture: str, from_hub: bool, size: tuple[int, int] | None) -> Any:
    """timm's model, without a classifier.

    Raises:
        ModelError: timm does not know the name, or cannot build it.
    """
    import timm

    if not timm.is_model(architecture.split(".", maxsplit=1)[0]):
        near = timm.list_models(f"*{architecture}*")[:3]
        hint = f"did you mean {', '.join(near)}" if near else "timm.list_models() names them"
        raise ModelError(f"timm has no model named {architecture!r}; {hint}")
    try:
        # Models of a fixed input size, as ViTs are, are built for it; the others take any.
        fixed = size is not None and getattr(timm.get_pretrained_cfg(architecture), "fixed_input_size", False)
        options: dict[str, Any] = {"img_size": size} if fixed else {}
        return timm.create_model(architecture, pretrained=from_hub, num_classes=0, **options)
    except Exception as error:
        what = "weights could not be fetched from the hub" if from_hub else "the model could not be built"
        what_now = "pass weights=FILE instead" if size is None or from_hub else "leave size out"
        raise ModelError(f"timm:{architecture}: {what} ({first_line(error)}); {what_now}") from error


def _check_patches(model: Any, architecture: str, size: tuple[int, int]) -> None:
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None) or (1, 1)
    if isinstance(patch, tuple) and any(side % each for side, each in zip(size, patch, strict=True)):
        raise ModelError(
            f"timm:{architecture}: expected a size of whole patches of {patch[0]}x{patch[1]} pixels, got "
            f"{size[0]}x{size[1]}; such as {size[0] // patch[0] * patch[0] or patch[0]}"
        )


def _prune(model: Any, architecture: str, block: int, norm: bool) -> None:
    """Remove what comes after a block.

    Raises:
        ModelError: the model cannot stop at a block, has no such block, or has no norm for it.
    """
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "prune_intermediate_layers"):
        raise ModelError(f"timm:{architecture}: gives only its last feature map; leave block out")
    # With None, nothing is removed.
    blocks = len(model.prune_intermediate_layers(indices=None, prune_norm=False, prune_head=False))
    if not 0 <= block < blocks:
        raise ModelError(f"timm:{architecture}: has {blocks} blocks, 0 to {blocks - 1}, got {block}")
    # The norm goes where it is not used: nothing that plays no part belongs to a model's fingerprint.
    model.prune_intermediate_layers(indices=[block], prune_norm=not norm, prune_head=True)
    if norm and isinstance(getattr(model, "norm", nn.Identity()), nn.Identity):
        raise _no_norm(architecture)


def _no_norm(architecture: str) -> ModelError:
    return ModelError(f"timm:{architecture}: has no final norm that can be applied to this block; leave norm out")


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


def load_weights(backbone: TimmBackbone, file: AnyPath) -> None:
    """Load the weights of a file into a backbone; see `diml.embedding.weights` for what is read.

    Raises:
        ModelError: the file is missing, cannot be read safely, or does not fit the architecture.
    """
    state = read_weights(file)
    own = backbone.model.state_dict()
    fitted = fit_names(state, own)
    if backbone.size is not None:
        fitted.tensors.update(_resampled_positions(backbone.model, fitted.tensors))
    # Counters of training steps, which older PyTorch versions did not save.
    missing = [name for name in fitted.missing if not name.endswith("num_batches_tracked")]
    wrong = [name for name, value in fitted.tensors.items() if value.shape != own[name].shape]
    if missing or wrong:
        raise ModelError(
            f"{file}: does not fit timm:{backbone.architecture}: {len(missing)} of its {len(own)} tensors are missing "
            f"and {len(wrong)} have another shape, such as {(missing + wrong)[0]}; the file holds {_some(state)}"
        )
    backbone.model.load_state_dict({**own, **fitted.tensors})


def _resampled_positions(model: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Absolute position embeddings of a square grid for the grid of the model; those of other kinds are left alone."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    stored, own = tensors.get("pos_embed"), getattr(model, "pos_embed", None)
    if stored is None or not isinstance(own, Tensor) or stored.shape == own.shape or stored.ndim != 3:
        return {}
    prefix = 0 if getattr(model, "no_embed_class", False) else getattr(model, "num_prefix_tokens", 0)
    patches, grid = stored.shape[1] - prefix, getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is None or patches < 1 or math.isqrt(patches) ** 2 != patches:
        return {}
    return {"pos_embed": resample_abs_pos_embed(stored, new_size=list(grid), num_prefix_tokens=prefix)}


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
