"""Evaluation: how well a model retrieves images of the same class."""

from diml.evaluation.evaluate_dataset import evaluate
from diml.evaluation.metrics import map_at_r, r_precision, recall_at
from diml.evaluation.order import best, reorder
from diml.evaluation.protocol import PROTOCOLS, Progress, evaluate_maps
from diml.evaluation.ranking import Rankings, Reranker, rank
from diml.evaluation.report import METRICS, Evaluation
from diml.evaluation.shortlists import Shortlist

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "Progress",
    "Rankings",
    "Reranker",
    "Shortlist",
    "best",
    "evaluate",
    "evaluate_maps",
    "map_at_r",
    "r_precision",
    "rank",
    "recall_at",
    "reorder",
]
