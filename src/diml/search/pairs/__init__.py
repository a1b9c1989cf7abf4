"""All pairs of images of an index that are alike, and the groups that they form."""

from diml.search.pairs.estimate import PairsEstimate
from diml.search.pairs.found import Pair
from diml.search.pairs.groups import Group, Groups
from diml.search.pairs.pairs import Pairs

__all__ = ["Group", "Groups", "Pair", "Pairs", "PairsEstimate"]
