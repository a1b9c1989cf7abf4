"""Matching: marginals, transport plans, and the match of two images made of them."""

from diml.matching.bounded import TopK, top_k
from diml.matching.functions import rerank, similarity
from diml.matching.marginals import MARGINALS, Marginal, cross_correlation, uniform
from diml.matching.match import Match, PartPair
from diml.matching.matcher import Matcher, PairScores, UnitMaps, prepare
from diml.matching.transport import TransportPlan, transport_plan

__all__ = [
    "MARGINALS",
    "Marginal",
    "Match",
    "Matcher",
    "PairScores",
    "PartPair",
    "TopK",
    "TransportPlan",
    "UnitMaps",
    "cross_correlation",
    "prepare",
    "rerank",
    "similarity",
    "top_k",
    "transport_plan",
    "uniform",
]
