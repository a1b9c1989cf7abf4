"""Explanation: why two images are similar, first as numbers, then in words, then as pictures and pages."""

from diml.explanation.files import check_output, save_page, save_picture
from diml.explanation.numbers import explanation_document, heat
from diml.explanation.picture import draw_match
from diml.explanation.words import describe, describe_pairs

__all__ = [
    "check_output",
    "describe",
    "describe_pairs",
    "draw_match",
    "explanation_document",
    "heat",
    "save_page",
    "save_picture",
]
