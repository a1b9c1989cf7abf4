"""Explanation: why two images are similar, first as numbers, then in words, then as pictures and pages."""

from diml.explanation.files import check_output, save_page, save_picture
from diml.explanation.hits import Hit, hit_marks
from diml.explanation.hits_html import hits_page
from diml.explanation.hits_picture import draw_hits
from diml.explanation.marks import Mark, marks_of
from diml.explanation.numbers import explanation_document, heat
from diml.explanation.picture import draw_match
from diml.explanation.words import describe, describe_pairs

__all__ = [
    "Hit",
    "Mark",
    "check_output",
    "describe",
    "describe_pairs",
    "draw_hits",
    "draw_match",
    "explanation_document",
    "heat",
    "hit_marks",
    "hits_page",
    "marks_of",
    "save_page",
    "save_picture",
]
