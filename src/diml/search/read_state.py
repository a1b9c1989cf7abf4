"""What an index is read through: one folder, or several that are opened as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from diml.model import StructuralModel
from diml.search.manifest import Manifest
from diml.search.places import Place
from diml.search.stored_rows import StoredRows

if TYPE_CHECKING:
    from diml.search.index_state import IndexState

Rows_co = TypeVar("Rows_co", bound=StoredRows, covariant=True)


class Opened(NamedTuple, Generic[Rows_co]):
    """An index that exists: what it is made of, and its rows."""

    manifest: Manifest
    store: Rows_co


class ReadState(Protocol):
    """What an index needs for reading and searching: of one folder (`IndexState`) or of several (`ShardedState`)."""

    @property
    def name(self) -> str:
        """What messages and results call it."""

    @property
    def path(self) -> Place:
        """The folder, absolute.

        Raises:
            UsageError: there are several.
        """

    @property
    def folders(self) -> list[Place]:
        """All of its folders."""

    @property
    def shards(self) -> Mapping[str, Place]:
        """The folders of several indices by their names; empty for a single one."""

    @property
    def opened(self) -> Opened[StoredRows] | None:
        """None before the index is made."""

    @property
    def model(self) -> StructuralModel:
        """The model."""

    def snapshot(self) -> tuple[Opened[StoredRows] | None, StructuralModel]:
        """What is opened and its model, which belong together."""

    def require(self) -> Opened[StoredRows]:
        """What is opened.

        Raises:
            StoreError: the index does not exist yet.
        """

    def count(self) -> int:
        """Images that are stored now, by any process."""

    def check_still_there(self) -> None:
        """Check that the folders still hold what was opened.

        Raises:
            StoreError: they do not.
        """

    def for_writing(self) -> IndexState:
        """The one folder that may be changed.

        Raises:
            UsageError: there are several.
        """

    def of_image(self, id: str) -> IndexState | None:
        """The folder that an image is in; None if it is not stored."""
