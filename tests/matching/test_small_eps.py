"""At a small eps a ranking stops before its plans meet their marginals; numbers that are shown do not."""

import torch
from scipy.optimize import linear_sum_assignment

from diml.feature_maps import FeatureMaps
from diml.matching import Matcher


def test_what_did_not_converge_says_so_and_tight_plans_meet_the_optimum():
    """With uniform marginals and as many parts on each side, the optimum is an assignment."""
    maps = FeatureMaps(torch.randn(12, 16, 8, generator=torch.Generator().manual_seed(0)), (4, 4)).to(torch.float64)
    i, j = torch.arange(6), torch.arange(6, 12)
    ranked = Matcher(eps=1e-4).pairs(maps, maps, i, j)
    shown = Matcher(eps=1e-4).tight().pairs(maps, maps, i, j)
    unit = maps.local / maps.local.norm(dim=-1, keepdim=True)
    for pair in range(6):
        similarity = unit[i[pair]] @ unit[j[pair]].mT
        best = similarity[linear_sum_assignment(-similarity)].mean()
        assert abs(shown.structural[pair] - best) < 1e-3
        if abs(ranked.structural[pair] - best) > 1e-3:
            assert not ranked.converged[pair]
    assert shown.converged.all()
    assert not ranked.converged.any()
