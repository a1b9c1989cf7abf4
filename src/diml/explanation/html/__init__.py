"""Pairs and hits as self-contained HTML pages, which request nothing."""

from diml.explanation.html.hits import hits_page
from diml.explanation.html.pair import pair_page

__all__ = ["hits_page", "pair_page"]
