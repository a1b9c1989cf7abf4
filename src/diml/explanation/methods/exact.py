"""The exact transport plan: without entropy, every part moves to where the total cost is least."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import ModelError, UsageError
from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.methods.structural import matched


@dataclass(frozen=True)
class ExactTransport:
    """The plan of least cost between the model's own marginals, `T = argmin over U(mu_a, mu_b) of sum T_ij (1 - S_ij)`.

    EMD-Corr shows the same (Taesiri, Nguyen, Nguyen, NeurIPS 2022; Phan and Nguyen, *DeepFace-EMD*, CVPR 2022). Heat
    and correspondence come from `T_ij S_ij` and `T`. The heat sums to the structural similarity without entropy, the
    largest that a plan between these marginals can reach.

    Raises:
        UsageError: scipy is not installed.
    """

    name: str = "emd"
    summary: ClassVar[str] = "every part moved to where the matching costs least, without entropy"
    limitation: ClassVar[str] = (
        "it does not explain the similarity that the model ranks by, which is softer and may hold a pooled share"
    )
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if find_spec("scipy") is None:
            raise UsageError("the method emd needs scipy, which is not installed; run pip install 'diml[mat]'")

    def explain(self, pair: MethodInput) -> MethodResult:
        match = matched(pair, {"mass": 1.0, "transport": "full"})
        plan = exact_plan(match.local_similarity[0], match.plan[0].sum(dim=1), match.plan[0].sum(dim=0))
        shares = plan * match.local_similarity[0]
        heat_a = shares.sum(dim=1).reshape(pair.maps_a.grid)
        heat_b = shares.sum(dim=0).reshape(pair.maps_b.grid)
        return MethodResult(heat_a, heat_b, plan, float(shares.sum()), "structural similarity without entropy", shares)


def exact_plan(
    local_similarity: Float[Tensor, "r_a r_b"], mu_a: Float[Tensor, " r_a"], mu_b: Float[Tensor, " r_b"]
) -> Float[Tensor, "r_a r_b"]:
    """The plan of highest similarity between these marginals, by an assignment where all weights are equal.

    Otherwise it is a linear program, which is much slower on fine grids.

    Args:
        local_similarity: (r_a, r_b).
        mu_a, mu_b: weights >= 0; each is divided by its sum.

    Raises:
        ModelError: the linear program was not solved.
    """
    mu_a, mu_b = mu_a / mu_a.sum(), mu_b / mu_b.sum()
    spread = max(float(mu.max() - mu.min()) * len(mu) for mu in (mu_a, mu_b))
    # The marginals of a plan are uniform only up to the tolerance to which it was solved.
    if len(mu_a) == len(mu_b) and spread < 1e-4:
        return _assignment(local_similarity)
    return _linear_program(local_similarity, mu_a, mu_b)


def _assignment(similarity: Float[Tensor, "r r"]) -> Float[Tensor, "r r"]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
    plan = torch.zeros_like(similarity)
    plan[torch.as_tensor(rows), torch.as_tensor(columns)] = 1 / len(similarity)
    return plan


def _linear_program(similarity: Tensor, mu_a: Tensor, mu_b: Tensor) -> Float[Tensor, "r_a r_b"]:
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    r_a, r_b = similarity.shape
    row_sums = kron(eye_array(r_a), np.ones((1, r_b)))
    column_sums = kron(np.ones((1, r_a)), eye_array(r_b))
    # The last column sum follows from the others; rounding could contradict it.
    sums = vstack([row_sums, column_sums.tocsr()[:-1]]).tocsr()
    solved = linprog(
        -similarity.reshape(-1).numpy(), A_eq=sums, b_eq=torch.cat([mu_a, mu_b[:-1]]).numpy(), method="highs"
    )
    if solved.x is None:
        raise ModelError(f"cannot solve the exact plan of a pair ({solved.message}); leave out the method emd")
    return torch.as_tensor(solved.x).reshape(r_a, r_b).to(similarity)
