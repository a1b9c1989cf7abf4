"""Matching: marginals, transport plans, and the match of two images made of them."""

from diml.matching.concentration import concentration
from diml.matching.dustbin import dustbin_plan
from diml.matching.functional import rerank, similarity
from diml.matching.kernels.coded_maps import CodedMaps, CodeLayout
from diml.matching.marginals import MARGINALS, OF_PARTS, Marginal, check_scheme, cross_correlation, uniform
from diml.matching.match import Match, PartPair
from diml.matching.matcher import Matcher
from diml.matching.one_sided import one_sided_plan
from diml.matching.partial import partial_plan
from diml.matching.parts import chosen_parts, counted_parts, find_part, part_similarity
from diml.matching.region_pairs import RegionPair, RegionPairs
from diml.matching.regions import (
    Region,
    RegionLike,
    as_regions,
    check_regions,
    mask_values,
    mask_weights,
    region_weights,
)
from diml.matching.score import PairScores, combine
from diml.matching.topk import TopK, top_k
from diml.matching.transport import TransportPlan, transport_plan
from diml.matching.unit_maps import UnitMaps, prepare

__all__ = [
    "MARGINALS",
    "OF_PARTS",
    "CodeLayout",
    "CodedMaps",
    "Marginal",
    "Match",
    "Matcher",
    "PairScores",
    "PartPair",
    "Region",
    "RegionLike",
    "RegionPair",
    "RegionPairs",
    "TopK",
    "TransportPlan",
    "UnitMaps",
    "as_regions",
    "check_regions",
    "check_scheme",
    "chosen_parts",
    "combine",
    "concentration",
    "counted_parts",
    "cross_correlation",
    "dustbin_plan",
    "find_part",
    "mask_values",
    "mask_weights",
    "one_sided_plan",
    "part_similarity",
    "partial_plan",
    "prepare",
    "region_weights",
    "rerank",
    "similarity",
    "top_k",
    "transport_plan",
    "uniform",
]
