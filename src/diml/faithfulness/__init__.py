"""Faithfulness: how far explanations of pairs of images can be trusted, by measurement."""

from diml.faithfulness.correct_keypoints import CorrectKeypoints, correct_keypoints
from diml.faithfulness.figures import curves_figure, keypoints_figure, make_folder
from diml.faithfulness.intervals import Estimate, estimate
from diml.faithfulness.measure import measure_faithfulness
from diml.faithfulness.open_pairs import fit_head, open_pairs
from diml.faithfulness.pairs import ImagePair, KnownPoints, LazyImage, pairs_of_classes
from diml.faithfulness.removal import RemovalCurves, removal_curves
from diml.faithfulness.report import CompletenessScores, Faithfulness, KeypointScores, RemovalScores
from diml.faithfulness.settings import MEASURES, FaithfulnessSettings
from diml.faithfulness.tables import summary, tables
from diml.faithfulness.warps import WARPS, Warp

__all__ = [
    "MEASURES",
    "WARPS",
    "CompletenessScores",
    "CorrectKeypoints",
    "Estimate",
    "Faithfulness",
    "FaithfulnessSettings",
    "ImagePair",
    "KeypointScores",
    "KnownPoints",
    "LazyImage",
    "RemovalCurves",
    "RemovalScores",
    "Warp",
    "correct_keypoints",
    "curves_figure",
    "estimate",
    "fit_head",
    "keypoints_figure",
    "make_folder",
    "measure_faithfulness",
    "open_pairs",
    "pairs_of_classes",
    "removal_curves",
    "summary",
    "tables",
]
