"""Weights of parts: how much each part of an image counts, computed from its feature map after the head.

A scheme is a module from parts (n, r, d) to weights (n, r) >= 0, which `FeatureMaps` scales to sum to 1 per image. Any
module of this form can be used; those of this file have names, under which a model is saved.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diml.errors import UsageError

# Parts of the collection that rarity compares with.
MOST = 2048
# How far similarity reaches by default, see `Rarity`.
TEMPERATURE = 0.05
# A part of the sample with a larger cosine is the part itself, up to the precision of the model.
SAME = 1 - 1e-3
# Parts that are compared with the sample at once: 64 MB of similarities.
CHUNK = 8192

UNIFORM = "uniform"


class Norm(nn.Module):
    """`alpha_i ~ |x_i|^p`: strong features count more (word rotator's distance, Yokoi et al. 2020).

    Args:
        power: p, 1 or 2.

    Raises:
        UsageError: another power.

    >>> Norm(2)(torch.tensor([[[3.0, 4.0], [0.0, 5.0], [0.0, 0.0]]]))
    tensor([[1., 1., 0.]])
    """

    def __init__(self, power: int = 1) -> None:
        super().__init__()
        if power not in (1, 2):
            raise UsageError(f"expected a power of 1 or 2 for weights by norm, got {power}")
        self.power = power

    @property
    def name(self) -> str:
        return "norm" if self.power == 1 else "norm2"

    def forward(self, local: Float[Tensor, "n r d"]) -> Float[Tensor, "n r"]:
        # The scale of an image drops out; without it, squares of large values would overflow.
        lengths: Tensor = torch.linalg.vector_norm(_scaled(local, dim=(1, 2)), dim=-1)
        return _below_one(lengths**self.power)

    def extra_repr(self) -> str:
        return f"power={self.power}"


class Rarity(nn.Module):
    """`alpha_i ~ rho_i^(-1/2)`, `rho_i = mean_y exp((hat(x_i) . hat(y) - 1) / t)`: common parts count less.

    y are parts of the collection, a sample that `fit` draws: an inverse document frequency for parts. A part of the
    sample is not compared with itself: of the y that equal x_i one is left out, so that it makes no difference which
    parts were drawn. A part that is all zero has no direction and weighs 0. Before it is fitted, all are equally rare.

    Args:
        temperature: t, how far similarity reaches: a part at cosine `1 - t` of another counts 1/e of an equal one.

    >>> rarity = Rarity(temperature=0.5)
    >>> rarity.fit(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    >>> rarity(torch.eye(2)[None])
    tensor([[1.3687, 3.1388]])
    """

    sample: Tensor

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("sample", torch.empty(0, 0))

    @property
    def name(self) -> str | None:
        """None with another temperature than the default, which the name would not bring back."""
        return "rarity" if self.temperature == TEMPERATURE else None

    @property
    def fitted(self) -> bool:
        return len(self.sample) > 0

    def fit(self, parts: Float[Tensor, "k d"], seed: int = 0) -> None:
        """Draw the sample: at most 2,048 of the parts, without those that are all zero.

        Args:
            parts: of the collection, after the head.
            seed: of the sample; equal parts and seeds give equal samples.

        Raises:
            UsageError: no part, only zeros, or a value that is not finite.
        """
        if parts.ndim != 2 or not torch.isfinite(parts).all():
            raise UsageError(f"expected finite parts (k, d) to fit rarity, got shape {tuple(parts.shape)} or NaN")
        parts = parts.detach()[parts.detach().abs().amax(dim=1) > 0] if parts.numel() else parts
        if not len(parts):
            raise UsageError("expected at least one part that is not all zero to fit rarity, got none")
        drawn = torch.randperm(len(parts), generator=torch.Generator().manual_seed(seed))[:MOST]
        self.sample = _unit(parts[drawn.sort().values.to(parts.device)]).float().to(self.sample.device)

    def forward(self, local: Float[Tensor, "n r d"]) -> Float[Tensor, "n r"]:
        if not self.fitted:
            return _full(local).new_ones(local.shape[:2])
        _check_dim(local, self.sample.shape[1])
        unit = _unit(local)
        rows = unit.flatten(0, 1)
        sample = self.sample.to(rows)
        # In a graph the number of pieces would fix the number of images.
        pieces = [rows] if torch.compiler.is_exporting() else torch.split(rows, CHUNK)
        rho = [self._density(piece @ sample.T) for piece in pieces]
        weights = torch.cat(rho).rsqrt().reshape(local.shape[:2])
        return weights.masked_fill((unit == 0).all(dim=-1), 0)

    def _density(self, cosines: Float[Tensor, "k m"]) -> Float[Tensor, " k"]:
        near = ((cosines - 1) / self.temperature).exp()
        closest, at = cosines.max(dim=1, keepdim=True)
        near = near.scatter(1, at, near.gather(1, at).masked_fill(closest > SAME, 0))
        return near.mean(dim=1).clamp(min=math.exp(-2 / self.temperature))

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *rest: object) -> None:
        # The number of parts depends on the collection.
        stored = state.get(f"{prefix}sample")
        if stored is not None:
            self.sample = torch.empty_like(stored, device=self.sample.device)
        super()._load_from_state_dict(state, prefix, *rest)

    def extra_repr(self) -> str:
        return f"parts={len(self.sample)}" if self.fitted else "not fitted"


class Learned(nn.Module):
    """`alpha_i ~ softplus(v . x_i + b)`, trained with the model by any loss; equal weights before.

    Args:
        dim: numbers per part.

    >>> Learned(3)(torch.rand(1, 2, 3)).detach()
    tensor([[0.6931, 0.6931]])
    """

    name = "learned"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    def trained(self) -> bool:
        return bool(self.linear.weight.detach().any())

    def forward(self, local: Float[Tensor, "n r d"]) -> Float[Tensor, "n r"]:
        _check_dim(local, self.linear.in_features)
        local = _full(local)
        weight, bias = self.linear.weight.to(local), self.linear.bias.to(local)
        return F.softplus(F.linear(local, weight, bias))[..., 0]


class Product(nn.Module):
    """The product of the weights of several schemes.

    >>> Product([Norm(1), Norm(2)])(torch.tensor([[[2.0], [1.0]]]))
    tensor([[1.0000, 0.1250]])
    """

    def __init__(self, factors: Sequence[nn.Module]) -> None:
        super().__init__()
        if not factors:
            raise UsageError("expected at least one scheme in a product of weights, got none")
        self.factors = nn.ModuleList(factors)

    @property
    def name(self) -> str | None:
        names = [name_of(factor) for factor in self.factors]
        return None if None in names else "*".join(str(name) for name in names)

    def forward(self, local: Float[Tensor, "n r d"]) -> Float[Tensor, "n r"]:
        product, *others = (_below_one(factor(local)) for factor in self.factors)
        for other in others:
            product = product * other
        return product


# Made for parts with so many numbers, which only some schemes need to know.
SCHEMES: Mapping[str, Callable[[Callable[[], int]], nn.Module]] = {
    "norm": lambda dim: Norm(1),
    "norm2": lambda dim: Norm(2),
    "rarity": lambda dim: Rarity(),
    "learned": lambda dim: Learned(dim()),
}


def parse_weights(name: str, dim: Callable[[], int]) -> nn.Module | None:
    """The scheme of a name, or the product of several, such as `norm2*rarity`; None for `uniform`.

    Args:
        name: names of `SCHEMES` with `*` between them, or "uniform".
        dim: gives the number of values per part; only called for a scheme that depends on it.

    Raises:
        UsageError: there is no such scheme.

    >>> parse_weights("norm2*rarity", lambda: 8).name
    'norm2*rarity'
    """
    names = [each.strip() for each in name.split("*")]
    if names == [UNIFORM]:
        return None
    for each in names:
        if each not in SCHEMES:
            raise UsageError(
                f"expected weights to be {UNIFORM}, {', '.join(SCHEMES)}, or a product such as norm2*rarity, "
                f"got {name!r}"
            )
    schemes = [SCHEMES[each](dim) for each in names]
    return schemes[0] if len(schemes) == 1 else Product(schemes)


def name_of(weights: nn.Module | None) -> str | None:
    """The name of a scheme, "uniform" for None; None for a module that has no name.

    >>> name_of(Norm(2)), name_of(None), name_of(nn.Identity())
    ('norm2', 'uniform', None)
    """
    name = UNIFORM if weights is None else getattr(weights, "name", None)
    return name if isinstance(name, str) else None


def needs_fitting(weights: nn.Module | None) -> bool:
    """Whether the scheme, or a factor of it, has to be fitted to a collection first."""
    return weights is not None and any(not each.fitted for each in _rarities(weights))


def depends_on_collection(weights: nn.Module | None) -> bool:
    """Whether the scheme, or a factor of it, is fitted to a collection."""
    return weights is not None and bool(_rarities(weights))


def fitted(weights: nn.Module, parts: Float[Tensor, "k d"], seed: int = 0) -> nn.Module:
    """A copy of the scheme, fitted to the parts of a collection.

    Raises:
        UsageError: nothing of the scheme depends on a collection.
    """
    if not _rarities(weights):
        raise UsageError(f"the weights {name_of(weights)} depend on no collection; leave fitting out")
    copied = copy.deepcopy(weights)
    for each in _rarities(copied):
        each.fit(parts, seed)
    return copied


def for_new_head(weights: nn.Module | None, dim: int) -> nn.Module | None:
    """A copy for parts of another embedding: what was fitted to the old one has to be fitted again.

    Raises:
        UsageError: the weights were trained on the old parts.
    """
    copied = copy.deepcopy(weights)
    for each in [] if copied is None else list(copied.modules()):
        if isinstance(each, Rarity):
            each.sample = each.sample.new_empty(0, 0)
        elif isinstance(each, Learned) and each.trained:
            raise UsageError(
                "the learned weights were trained on parts of the present head; use with_weights(None) or "
                "with_weights('learned') before a new head is fitted"
            )
        elif isinstance(each, Learned):
            each.linear = Learned(dim).linear.to(each.linear.weight)
    return copied


def _rarities(weights: nn.Module) -> list[Rarity]:
    return [each for each in weights.modules() if isinstance(each, Rarity)]


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _scaled(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """In float32 or better, divided by the largest absolute value along the axes: squares stay in range."""
    x = _full(x)
    return x / x.detach().abs().amax(dim=dim, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) if x.numel() else x


def _unit(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    return F.normalize(_scaled(x, dim=-1), dim=-1)


def _below_one(weights: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    """Divided by the largest of each image, so that products neither overflow nor vanish."""
    return _scaled(weights, dim=-1)


def _check_dim(local: Tensor, dim: int) -> None:
    if local.shape[-1] != dim:
        raise UsageError(
            f"expected parts of dim {dim}, for which the weights were made, got dim {local.shape[-1]}; "
            "make or fit the weights after the head"
        )
