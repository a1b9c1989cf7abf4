"""Faithfulness: how far explanations of pairs of images can be trusted, by measurement."""

from diml.faithfulness.correspondence import Correct, correct_keypoints
from diml.faithfulness.deletion import Curves, removal_curves
from diml.faithfulness.intervals import Estimate, estimate
from diml.faithfulness.measuring import MEASURES, Plan, measure_faithfulness
from diml.faithfulness.pairs import Pair, Picture, Points, pairs_of_classes
from diml.faithfulness.pictures import draw_curves, draw_keypoints
from diml.faithfulness.report import Faithfulness
from diml.faithfulness.sources import fitted, open_pairs
from diml.faithfulness.tables import summary, tables
from diml.faithfulness.warps import WARPS, Warp

__all__ = [
    "MEASURES",
    "WARPS",
    "Correct",
    "Curves",
    "Estimate",
    "Faithfulness",
    "Pair",
    "Picture",
    "Plan",
    "Points",
    "Warp",
    "correct_keypoints",
    "draw_curves",
    "draw_keypoints",
    "estimate",
    "fitted",
    "measure_faithfulness",
    "open_pairs",
    "pairs_of_classes",
    "removal_curves",
    "summary",
    "tables",
]
