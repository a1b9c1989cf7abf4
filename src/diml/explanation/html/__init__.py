"""Pairs, hits and groups as self-contained HTML pages, which request nothing."""

from diml.explanation.html.groups import groups_page
from diml.explanation.html.hits import hits_page
from diml.explanation.html.pair import pair_page

__all__ = ["groups_page", "hits_page", "pair_page"]
