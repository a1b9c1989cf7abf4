"""Explanations: why images are similar, as numbers, in words, as pictures and pages."""

from diml.explanation.agreement import Agreement, SharedPart
from diml.explanation.compare_images import compare
from diml.explanation.conditions import Conditions
from diml.explanation.contrast import Contrast, PartLead
from diml.explanation.draw import draw_hits, draw_match
from diml.explanation.explain import explain_agreement, explain_contrast, explain_pair, images_beside
from diml.explanation.files import PAGES, PICTURES, check_no_source, check_output, is_page, save_page, save_picture
from diml.explanation.images import NamedImage
from diml.explanation.numbers import heat
from diml.explanation.pair import PairExplanation
from diml.explanation.part_sums import PartSums
from diml.explanation.rival_document import HeatCell, RivalAnswer, RivalPair, explain_by, rival_document
from diml.explanation.rival_picture import check_drawable, draw_rival
from diml.explanation.rival_words import describe_method, describe_rival, describe_rival_parts
from diml.explanation.words import Words

__all__ = [
    "PAGES",
    "PICTURES",
    "Agreement",
    "Conditions",
    "Contrast",
    "HeatCell",
    "NamedImage",
    "PairExplanation",
    "PartLead",
    "PartSums",
    "RivalAnswer",
    "RivalPair",
    "SharedPart",
    "Words",
    "check_drawable",
    "check_no_source",
    "check_output",
    "compare",
    "describe_method",
    "describe_rival",
    "describe_rival_parts",
    "draw_hits",
    "draw_match",
    "draw_rival",
    "explain_agreement",
    "explain_by",
    "explain_contrast",
    "explain_pair",
    "heat",
    "images_beside",
    "is_page",
    "rival_document",
    "save_page",
    "save_picture",
]
