"""Explanations, hits and matches as matplotlib figures, for PNG, SVG and PDF files and for notebooks."""

from diml.explanation.drawing.agreement import agreement_figure
from diml.explanation.drawing.contrast import contrast_figure
from diml.explanation.drawing.hits import hits_figure
from diml.explanation.drawing.method import method_figure
from diml.explanation.drawing.pair import pair_figure

__all__ = ["agreement_figure", "contrast_figure", "hits_figure", "method_figure", "pair_figure"]
