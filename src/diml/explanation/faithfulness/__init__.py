"""Faithfulness: how far explanations of pairs of images can be trusted, by measurement."""

from diml.explanation.faithfulness.correspondence import Correct, correct_keypoints
from diml.explanation.faithfulness.deletion import Curves, removal_curves
from diml.explanation.faithfulness.intervals import Estimate, estimate
from diml.explanation.faithfulness.measuring import MEASURES, Plan, measure_faithfulness
from diml.explanation.faithfulness.pairs import Pair, Picture, Points, pairs_of_classes
from diml.explanation.faithfulness.pictures import draw_curves, draw_keypoints
from diml.explanation.faithfulness.report import Faithfulness
from diml.explanation.faithfulness.sources import fitted, open_pairs
from diml.explanation.faithfulness.tables import summary, tables
from diml.explanation.faithfulness.warps import WARPS, Warp

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
