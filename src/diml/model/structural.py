"""The structural model: an encoder and a matcher that are loaded, saved and used together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from diml.embedding import Batch, Encoder, Inference, Preprocessing, fit_whitening, noise_tokens, parse_weights
from diml.embedding import position_directions as directions_of_position
from diml.embedding.part_weights import fitted, for_new_head, name_of, needs_fitting
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.files import user_path
from diml.matching import Match, Matcher, RegionLike
from diml.model.config import fingerprint, model_config
from diml.model.sources import Source, as_list, is_one_image, read_image
from diml.model.storage import load, save

if TYPE_CHECKING:
    from diml.model.query import Query
    from diml.model.query_part import Mask

# Images as `encode` takes them, or their feature maps.
Images = Source | Iterable[Source] | FeatureMaps


class StructuralModel(nn.Module):
    """Embeds images as feature maps, and computes how similar two images are, part by part.

    Args:
        encoder: turns images into feature maps.
        matcher: compares two feature maps.
        name: the model's name in output and in stored files.
        head_fitted_on: a description of the images that the head was fitted or trained on; None without a head.
        weights_fitted_on: the same of the weights of parts; None where they depend on no images.

    >>> from PIL import Image
    >>> model = StructuralModel.from_pretrained("lite0")
    >>> maps = model.encode([Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")])
    >>> maps
    FeatureMaps(n=2, grid=4x4, dim=1280, torch.float32, cpu, weighted)
    >>> match = model.explain(maps[0], maps[1])
    >>> abs(match.contributions.sum().item() - match.similarity.item()) < 1e-10
    True
    """

    def __init__(
        self,
        encoder: Encoder,
        matcher: Matcher | None = None,
        name: str = "custom",
        head_fitted_on: str | None = None,
        weights_fitted_on: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.matcher = matcher or Matcher()
        self.name = name
        self.head_fitted_on = head_fitted_on
        self.weights_fitted_on = weights_fitted_on

    # --- loading and saving ---

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | os.PathLike[str], *, backbone: nn.Module | None = None
    ) -> StructuralModel:
        """Load a model.

        `lite0` and timm models, which were not trained to compare, weigh parts by `norm*rarity` (by norm alone until
        the rarity is fitted) and match one-sided with weight 0.85, so a compared with b asks whether a is in b. Folders
        and indices match as they were saved.

        Args:
            name_or_folder: one of

                - `"lite0"`: EfficientNet-Lite0 with ImageNet weights from an installed package; no download, no head;
                - `"lite1"`, `"lite2"`: the same, larger, of 240 and 260 pixels; each needs the extra of its name;
                - `"timm:NAME?weights=FILE"`: any timm model, with weights from a .safetensors or .pth file;
                - `"timm:NAME?weights=hub"`: the same with weights downloaded from the hub;
                - `"timm:NAME?weights=random"`: untrained, for tests; to all of these may be added

                    - `&block=N`: the output of an inner block, counted from 0, without what follows it; and `&norm=1`
                      to apply the model's final norm to it;
                    - `&size=PIXELS` or `&size=HEIGHTxWIDTH`: another input size than the model was trained with;

                - a folder written by `save_pretrained`, or an index, which contains its model.
            backbone: the module to load the weights into, for a saved model whose backbone is not a timm model.

        Raises:
            UsageError: the argument is not a name or a folder.
            ModelError: there is no such model, or one of its files is missing, damaged, unsafe, written by a newer
                version, or does not fit.
        """
        if not isinstance(name_or_folder, str | os.PathLike):
            raise UsageError(f"expected the name or the folder of a model, got {type(name_or_folder).__name__}")
        return cls(*load(os.fspath(name_or_folder), backbone))

    @classmethod
    def wrap(
        cls,
        backbone: nn.Module,
        preprocessing: Preprocessing | None = None,
        *,
        grid: tuple[int, int] = (4, 4),
        matcher: Matcher | None = None,
        name: str = "custom",
    ) -> StructuralModel:
        """Make a model of any module that returns a map (n, c, h, w), or a map and its own pooled vector (n, c).

        >>> model = StructuralModel.wrap(torch.nn.Conv2d(3, 8, 32, 32))
        >>> model.encode(torch.zeros(3, 100, 80)).local.shape
        torch.Size([1, 16, 8])
        """
        return cls(Encoder(backbone, preprocessing or Preprocessing(), grid=grid), matcher, name)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors`, each atomically, the configuration last.

        Raises:
            ModelError: the folder cannot be written, or the marginals or the weights are not a named scheme.
        """
        save(user_path(folder), self.config(), self.encoder.state_dict())

    def config(self) -> dict[str, Any]:
        """Everything but the weights, as `config.json` holds it.

        Raises:
            ModelError: the marginals or the weights are not a named scheme.
        """
        return model_config(self.encoder, self.matcher, self.name, self.head_fitted_on, self.weights_fitted_on)

    # --- properties ---

    @property
    def grid(self) -> tuple[int, int]:
        return self.encoder.grid

    @property
    def dim(self) -> int:
        """Length of a part's vector."""
        if self.encoder.head is not None:
            return self.encoder.head.out_features
        return self.encoder.channels

    @property
    def head_fitted(self) -> bool:
        return self.encoder.head is not None

    @property
    def weights(self) -> str:
        """Name of the weights of parts: "uniform", a scheme such as "norm", or "custom" for a module without a name."""
        return name_of(self.encoder.weights) or "custom"

    @property
    def weights_ready(self) -> bool:
        """False for weights that have to be fitted to a collection first, see `fit_weights`."""
        return not needs_fitting(self.encoder.weights)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the embedding's weights and settings: models with equal digests produce equal maps."""
        return fingerprint(self.encoder)

    def with_grid(self, grid: int | tuple[int, int]) -> StructuralModel:
        """A model that shares these weights and has another matching grid: (rows, columns), or one number for both."""
        shape = (grid, grid) if isinstance(grid, int) else grid
        return self.replace(encoder=self.encoder.replace(grid=shape))

    def with_decoding(self, decoding: int | None = None, bit_depth: int | None = None) -> StructuralModel:
        """A model that shares these weights and decodes image files in another way.

        Args:
            decoding: version 1, 2 or 3, see `diml.data.open_image`; None keeps the model's.
            bit_depth: bits of the samples in 16-bit images, where the files do not say it; None for 16.

        Raises:
            UsageError: there is no such version, or a bit depth with version 1.
        """
        old = self.encoder
        pixels = dataclasses.replace(
            old.preprocessing, decoding=decoding or old.preprocessing.decoding, bit_depth=bit_depth
        )
        return self.replace(encoder=old.replace(preprocessing=pixels))

    def with_matcher(self, **changes: Any) -> StructuralModel:
        """A model that shares these weights and has other matcher settings, such as `eps=` or `marginals=`."""
        return self.replace(matcher=self.matcher.replace(**changes))

    def with_weights(self, weights: str | nn.Module | None) -> StructuralModel:
        """A model that shares all else and weighs the parts of an image in another way.

        Args:
            weights: "norm", "norm2", "rarity", "learned", or a product such as "norm2*rarity"; "uniform" or None for
                none; or a module from parts (n, r, d), after the head, to weights (n, r) >= 0. See
                `diml.embedding.part_weights`. Weights that the model has already under this name are kept as they are.

        Raises:
            UsageError: there is no such scheme.

        >>> model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32)).with_weights("norm")
        >>> model.encode(torch.zeros(3, 64, 64))
        FeatureMaps(n=1, grid=4x4, dim=8, torch.float32, cpu, weighted)
        """
        if isinstance(weights, str):
            if weights == name_of(self.encoder.weights):
                return self
            weights = parse_weights(weights, lambda: self.dim)
        weights = None if weights is None else weights.to(self.encoder.device)
        return self.replace(encoder=self.encoder.replace(weights=weights), weights_fitted_on=None)

    def with_backend(self, backend: str) -> StructuralModel:
        """A model that shares these weights and embeds by another backend where no gradient is needed.

        Args:
            backend: torch, openvino, onnx, or auto for the fastest that is installed once there are many images; or
                torch-bf16 or openvino-bf16, faster and less exact. See `diml.embedding.Inference`.

        Raises:
            UsageError: there is no such backend, or it is not installed.
        """
        return self.replace(encoder=self.encoder.replace(inference=Inference(backend)))

    @property
    def backends(self) -> tuple[str, ...]:
        """What has embedded images so far, such as torch."""
        return tuple(sorted(self.encoder.inference.ran(self.encoder.backbone)))

    def replace(self, **changes: Any) -> StructuralModel:
        """A model that has some arguments of the constructor changed, and shares the others."""
        names = ("encoder", "matcher", "name", "head_fitted_on", "weights_fitted_on")
        return StructuralModel(**{**{name: getattr(self, name) for name in names}, **changes})

    # --- encoding and comparing ---

    def stream(
        self,
        images: Iterable[Source],
        *,
        batch_size: int = 32,
        workers: int | None = None,
        keep: Callable[[Image.Image], Any] | None = None,
    ) -> Iterator[Batch]:
        """Embed a stream of images; images that cannot be read are reported in the batch. See `Encoder.stream`."""
        return self.encoder.stream(images, self.read, batch_size=batch_size, workers=workers, keep=keep)

    def read(self, image: Source) -> Image.Image | Tensor:
        """An image as the model decodes it: RGB and upright; a tensor is returned as it is.

        A large JPEG is decoded at a half, a quarter or an eighth of its size, see `diml.data.open_image`;
        `diml.data.original_of` gives its size in the file, in whose pixels regions and boxes are.

        Raises:
            ImageError: the file cannot be read, or the value is not an image.
        """
        used = self.encoder.preprocessing
        return read_image(image, used.decoding, used.bit_depth, used.wanted)

    def encode(
        self,
        images: Source | Iterable[Source],
        batch_size: int = 32,
        device: str | torch.device | None = None,
    ) -> FeatureMaps:
        """Feature maps of images with their geometry, float32, on the model's device, without gradient.

        A model in another precision, such as `model.half()`, computes in that precision and also returns float32 maps.

        Args:
            images: one image or several: paths, PIL images (any mode, converted as `diml.data.open_image` converts
                files), arrays (H, W, 3) of uint8, tensors (3, H, W) of uint8 0..255 or floats 0..1.
            batch_size: images per forward pass.
            device: the device to run on, where the model is moved; by default the model's own.

        Raises:
            ImageError: for the first image that cannot be read.
            UsageError: there are no images.
        """
        if device is not None:
            self.to(device)
        batches = []
        for batch in self.stream(as_list(images), batch_size=batch_size):
            if batch.failures:
                raise batch.failures[0][1]
            batches.append(batch.maps)
        if not batches:
            raise UsageError("expected at least one image to encode, got no images")
        return FeatureMaps.cat(batches)

    def fit_head(
        self,
        images: FeatureMaps | Iterable[Source],
        dim: int = 128,
        *,
        on: str | None = None,
        position_directions: int = 0,
    ) -> StructuralModel:
        """Fit the head in place, replacing any head: PCA whitening of the means over the parts.

        Args:
            images: more than `dim` images, or maps of this model without a head (dim = the backbone's channels).
            dim: length of a part's vector afterwards; less where the images vary in fewer directions.
            on: a description of the images, stored with the model.
            position_directions: number of directions to project out in which the backbone's output for noise images
                depends on the position, see `diml.embedding.position_directions`; 0 for none.

        Raises:
            UsageError: too few images, maps whose dim is not the backbone's channels, more directions than the backbone
                has, or weights that were trained with the present head.
        """
        bare = self.replace(encoder=self.encoder.replace(head=None, grid=(1, 1), weights=None))
        maps = images if isinstance(images, FeatureMaps) else bare.encode(images)
        if maps.dim != self.encoder.channels:
            raise UsageError(
                f"expected maps of the backbone's {self.encoder.channels} channels to fit a head, got dim {maps.dim}; "
                "encode them without a head"
            )
        words, without = on or f"{len(maps)} images", None
        if position_directions:
            without = directions_of_position(noise_tokens(self.encoder), position_directions)
            words = f"{words}, without {len(without)} directions of position"
        return self.use_head(fit_whitening(maps.mean, dim, without=without), words)

    def use_head(self, head: nn.Linear, on: str | None) -> StructuralModel:
        """Take a head, in place, replacing any head; weights that were fitted have to be fitted again.

        Args:
            head: from the backbone's channels to the length of a part's vector.
            on: a description of the images that it was fitted on.

        Raises:
            UsageError: the weights were trained with the present head.
        """
        self.encoder.weights = for_new_head(self.encoder.weights, head.out_features)
        self.encoder.head = head.to(self.encoder.device)
        self.head_fitted_on, self.weights_fitted_on = on, None
        return self

    def fit_weights(
        self, images: FeatureMaps | Iterable[Source], *, on: str | None = None, seed: int = 0
    ) -> StructuralModel:
        """Fit the weights of parts, in place, to the images of a collection; labels are not used.

        Only weights by rarity depend on a collection. Other models that share these weights do not change.

        Args:
            images: the images, or maps of this model after its head.
            on: a description of the images, stored with the model.
            seed: of the sample of parts that is kept, see `diml.embedding.Rarity`.

        Raises:
            UsageError: the model's weights depend on no collection, or maps of another dim.

        >>> model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32)).with_weights("rarity")
        >>> model.weights_ready, model.fit_weights(torch.rand(5, 3, 64, 64)).weights_fitted_on
        (False, '5 images')
        """
        if self.encoder.weights is None:
            raise UsageError("expected a model with weights to fit, got uniform ones; use with_weights first")
        bare = self.replace(encoder=self.encoder.replace(weights=None))
        maps = images if isinstance(images, FeatureMaps) else bare.encode(images)
        if self.encoder.head is not None and maps.dim != self.dim:
            raise UsageError(f"expected maps of dim {self.dim}, after the head, to fit weights, got dim {maps.dim}")
        self.encoder.weights = fitted(self.encoder.weights, maps.local.flatten(0, 1), seed).to(self.encoder.device)
        self.weights_fitted_on = on or f"{len(maps)} images"
        return self

    def match(self, a: Images, b: Images) -> Match:
        """Match image k of a with image k of b; differentiable for maps, with the plan held fixed. See `Matcher.match`.

        Args:
            a, b: images as `encode` takes them, or feature maps; the same number of each.
        """
        return self.matcher.match(*self._both(a, b))

    @overload
    def similarity(self, a: Source, b: Source) -> float: ...

    @overload
    def similarity(self, a: Images, b: Images) -> Float[Tensor, "n m"]: ...

    def similarity(self, a: Images, b: Images) -> float | Float[Tensor, "n m"]:
        """How similar images are, -1..1: one image and another, or all pairs of two lists.

        Args:
            a, b: images as `encode` takes them, or feature maps.

        Returns:
            For two single images a float, equal to that of `explain`. For lists or feature maps an (n, m) tensor,
            float32, solved to the matcher's tolerance; for feature maps it is differentiable, with the plan held fixed.
            See `Matcher.similarity`.

        >>> model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
        >>> red, blue = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")
        >>> type(model.similarity(red, blue)), model.similarity([red], [red, blue]).shape
        (<class 'float'>, torch.Size([1, 2]))
        """
        if is_one_image(a) and is_one_image(b):
            return self.explain(a, b).similarity.item()
        return self.matcher.similarity(*self._both(a, b))

    def explain(self, a: Images, b: Images) -> Match:
        """Match image k of a with image k of b in float64 at marginal tolerance 1e-6, for numbers that are displayed.

        Args:
            a, b: images as `encode` takes them, or feature maps; the same number of each.
        """
        maps_a, maps_b = self._both(a, b)
        return self.matcher.tight().match(exactly(maps_a), exactly(maps_b))

    def _both(self, a: Images, b: Images) -> tuple[FeatureMaps, FeatureMaps]:
        """Feature maps of both sides; where both are the same object, it is embedded once."""
        maps_a = a if isinstance(a, FeatureMaps) else self.encode(a)
        if b is a:
            return maps_a, maps_a
        return maps_a, b if isinstance(b, FeatureMaps) else self.encode(b)

    def query(
        self,
        image: Source | FeatureMaps,
        *,
        regions: Sequence[RegionLike] = (),
        mask: Mask | None = None,
        rollout: int | None = None,
    ) -> Query:
        """Prepare an image for comparison with others: the whole image, a part of it, or weighted by its attention.

        Args:
            image: one image as `encode` takes it, or feature maps of one image.
            regions: parts of the image, each `(x0, y0, x1, y1)` or `((x0, y0, x1, y1), weight)` in its pixels. Only the
                cells that show them are matched, with any cells of the other image. See `diml.matching.region_weights`.
            mask: a part of the image, given by an image of the same size: a file, a PIL image, or values (H, W). See
                `diml.matching.mask_weights`.
            rollout: number of last blocks of a vision transformer whose attention gives the marginals of both images.

        Raises:
            ImageError: the image or the mask cannot be read.
            UsageError: a region or a mask that does not fit the image, more than one of `regions`, `mask` and
                `rollout`, a rollout of a model without attention, or feature maps of several images.

        >>> model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
        >>> query = model.query(Image.new("RGB", (64, 64)), regions=[(0, 0, 32, 32)])
        >>> query.part.chosen, query.marginals, query.image.size
        ([0, 1, 4, 5], 'part', (64, 64))
        """
        from diml.model.query import make_query

        return make_query(self, image, regions, mask, rollout)

    def extra_repr(self) -> str:
        weighted = "" if self.encoder.weights is None else f", weights={self.weights}"
        return f"name={self.name!r}, grid={self.grid}{weighted}, {self.matcher}"


def exactly(maps: FeatureMaps) -> FeatureMaps:
    """The maps in float64 on the CPU, without gradient: displayed numbers are computed from these."""
    return maps.detach().to("cpu").to(torch.float64)
