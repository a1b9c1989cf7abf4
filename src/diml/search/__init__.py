"""Search: an index of a collection, kept in one folder, and the images in it that are most similar to another."""

from diml.search.entries import Entry
from diml.search.folder import index_folder
from diml.search.hits import FailedQuery, Hit, SearchResult
from diml.search.index import Index
from diml.search.pairs import Group, Groups, Pair, Pairs, PairsEstimate
from diml.search.ray_engine import RayEngine
from diml.search.recode import recode
from diml.search.stats import IndexStats
from diml.search.writer import AddReport

__all__ = [
    "AddReport",
    "Entry",
    "FailedQuery",
    "Group",
    "Groups",
    "Hit",
    "Index",
    "IndexStats",
    "Pair",
    "Pairs",
    "PairsEstimate",
    "RayEngine",
    "SearchResult",
    "index_folder",
    "recode",
]
