"""Explanation: why two images are similar, first as numbers, then in words, then as pictures and pages."""

from diml.explanation.agreement import Agreement, SharedPart, agreement, agreement_document
from diml.explanation.agreement_words import describe_agreement, describe_shared
from diml.explanation.contrast import Contrast, PartLead, contrast_document
from diml.explanation.contrast_words import describe_contrast, describe_leads
from diml.explanation.drawing.agreement import draw_agreement
from diml.explanation.drawing.contrast import draw_contrast
from diml.explanation.drawing.hits import draw_hits
from diml.explanation.drawing.pair import draw_match
from diml.explanation.files import check_output, save_page, save_picture
from diml.explanation.hits import Hit, hit_marks
from diml.explanation.html.hits import hits_page
from diml.explanation.html.pair import match_page
from diml.explanation.marks import Mark, marks_of
from diml.explanation.numbers import explanation_document, heat, strongest_pairs
from diml.explanation.rival_document import HeatCell, RivalAnswer, RivalPair, explain_by, rival_document
from diml.explanation.rival_picture import check_drawable, draw_rival
from diml.explanation.rival_words import describe_method, describe_rival, describe_rival_parts
from diml.explanation.words import describe, describe_pairs

__all__ = [
    "Agreement",
    "Contrast",
    "HeatCell",
    "Hit",
    "Mark",
    "PartLead",
    "RivalAnswer",
    "RivalPair",
    "SharedPart",
    "agreement",
    "agreement_document",
    "check_drawable",
    "check_output",
    "contrast_document",
    "describe",
    "describe_agreement",
    "describe_contrast",
    "describe_leads",
    "describe_method",
    "describe_pairs",
    "describe_rival",
    "describe_rival_parts",
    "describe_shared",
    "draw_agreement",
    "draw_contrast",
    "draw_hits",
    "draw_match",
    "draw_rival",
    "explain_by",
    "explanation_document",
    "heat",
    "hit_marks",
    "hits_page",
    "marks_of",
    "match_page",
    "rival_document",
    "save_page",
    "save_picture",
    "strongest_pairs",
]
