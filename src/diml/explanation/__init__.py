"""Explanations: why images are similar, as numbers, in words, as pictures and pages."""

from diml.explanation.agreement import Agreement, SharedPart
from diml.explanation.by_method import MethodExplanation, check_drawable, explain_by_method
from diml.explanation.compare_images import compare
from diml.explanation.conditions import Conditions
from diml.explanation.contrast import Contrast, PartLead
from diml.explanation.draw import draw_groups, draw_hits, draw_match
from diml.explanation.explain import (
    explain_agreement,
    explain_contrast,
    explain_found_pair,
    explain_hit,
    explain_pair,
    images_beside,
)
from diml.explanation.files import PAGES, PICTURES, check_no_source, check_output, is_page, save_page, save_picture
from diml.explanation.images import NamedImage
from diml.explanation.method_words import CellHeat, PartCorrespondence
from diml.explanation.numbers import heat
from diml.explanation.pair import PairExplanation
from diml.explanation.part_sums import PartSums
from diml.explanation.words import Words

__all__ = [
    "PAGES",
    "PICTURES",
    "Agreement",
    "CellHeat",
    "Conditions",
    "Contrast",
    "MethodExplanation",
    "NamedImage",
    "PairExplanation",
    "PartCorrespondence",
    "PartLead",
    "PartSums",
    "SharedPart",
    "Words",
    "check_drawable",
    "check_no_source",
    "check_output",
    "compare",
    "draw_groups",
    "draw_hits",
    "draw_match",
    "explain_agreement",
    "explain_by_method",
    "explain_contrast",
    "explain_found_pair",
    "explain_hit",
    "explain_pair",
    "heat",
    "images_beside",
    "is_page",
    "save_page",
    "save_picture",
]
