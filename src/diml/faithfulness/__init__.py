"""Faithfulness: how far explanations of pairs of images can be trusted, by measurement."""

from diml.faithfulness.correct_keypoints import CorrectKeypoints, correct_keypoints
from diml.faithfulness.figures import curves_figure, keypoints_figure, make_folder
from diml.faithfulness.interactions import Interactions, interactions, reference_interactions
from diml.faithfulness.intervals import Estimate, estimate
from diml.faithfulness.known import with_masks, with_points
from diml.faithfulness.measure import measure_faithfulness
from diml.faithfulness.object_heat import CellMasks, ObjectHeat, object_heat
from diml.faithfulness.object_rows import InteractionReliability, InteractionScores, ObjectScores
from diml.faithfulness.open_pairs import fit_head, open_pairs
from diml.faithfulness.pairs import ImagePair, KnownPoints, LazyImage, ObjectMasks, pairs_of_classes
from diml.faithfulness.removal import RemovalCurves, removal_curves
from diml.faithfulness.report import CompletenessScores, Faithfulness, KeypointScores, RemovalScores
from diml.faithfulness.settings import MEASURES, USUAL, FaithfulnessSettings
from diml.faithfulness.tables import summary, tables
from diml.faithfulness.warps import WARPS, Warp

__all__ = [
    "MEASURES",
    "USUAL",
    "WARPS",
    "CellMasks",
    "CompletenessScores",
    "CorrectKeypoints",
    "Estimate",
    "Faithfulness",
    "FaithfulnessSettings",
    "ImagePair",
    "InteractionReliability",
    "InteractionScores",
    "Interactions",
    "KeypointScores",
    "KnownPoints",
    "LazyImage",
    "ObjectHeat",
    "ObjectMasks",
    "ObjectScores",
    "RemovalCurves",
    "RemovalScores",
    "Warp",
    "correct_keypoints",
    "curves_figure",
    "estimate",
    "fit_head",
    "interactions",
    "keypoints_figure",
    "make_folder",
    "measure_faithfulness",
    "object_heat",
    "open_pairs",
    "pairs_of_classes",
    "reference_interactions",
    "removal_curves",
    "summary",
    "tables",
    "with_masks",
    "with_points",
]
