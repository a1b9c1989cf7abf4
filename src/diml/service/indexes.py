"""The served indices: opened when they are there, opened again when they change, one model in memory for equal ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from diml.errors import DimlError, StoreError
from diml.model import StructuralModel
from diml.search import Index
from diml.search.manifest import FILE, MODEL, Manifest
from diml.search.places import Place, on_this_machine
from diml.service.problems import RequestError

# What tells one state of a file from another: inode, or entity tag of an object; time of change, size.
Signature = tuple[int | str, int, int]


class Models:
    """The models in memory, one for each fingerprint; a model leaves with the last index that uses it."""

    def __init__(self, device: str = "cpu", backend: str = "auto") -> None:
        self._device, self._backend = device, backend
        self._models: WeakValueDictionary[str, StructuralModel] = WeakValueDictionary()
        self._loading = threading.Lock()

    def load(self, path: Place, manifest: Manifest) -> StructuralModel:
        """The model of an index, with the encoder that is in memory already, if there is one.

        Indices with one fingerprint embed alike, and may compare in different ways.
        """
        with self._loading:
            known = self._models.get(manifest.fingerprint)
            if known is None:
                with on_this_machine(path / MODEL) as folder:
                    known = StructuralModel.from_pretrained(folder).with_backend(self._backend)
                known.to(self._device).eval().requires_grad_(False)
                known.encoder.prepare()
                self._models[manifest.fingerprint] = known
            return known

    def __len__(self) -> int:
        return len(self._models)


class ServedIndex:
    """An index, or several as one, under a name. Threads may share it.

    Attributes:
        paths: of the index, or of several.
        reason: why it cannot be used now, in one sentence; None while it can.
    """

    def __init__(self, name: str, paths: Sequence[Place], models: Models) -> None:
        self.name = name
        self.paths = tuple(_absolute(path) for path in paths)
        self.reason: str | None = "it has not been opened yet; ask again in a moment"
        self._models = models
        self._opened: Index | None = None
        self._encoder_of: StructuralModel | None = None  # keeps the shared model in memory
        self._signature: tuple[Signature, ...] | None = None
        self._changing = threading.Lock()

    def current(self) -> Index:
        """The index as it is now; opened again where another one lies in its place.

        What other processes commit to an index becomes visible by itself.

        Raises:
            RequestError: 503, the index cannot be used now.
        """
        with self._changing:
            signature = _signature(self.paths)
            if self._opened is None or signature is None or signature != self._signature:
                self._open(signature)
            assert self._opened is not None
            return self._opened

    def lost(self, error: StoreError) -> RequestError:
        """Note an index that failed while it was read; the next request opens it again."""
        with self._changing:
            self._opened, self.reason = None, str(error)
        return unavailable(self.name, error)

    @property
    def encoder_model(self) -> StructuralModel:
        """The model in memory that embeds for this index, shared with indices of the same fingerprint."""
        assert self._encoder_of is not None
        return self._encoder_of

    def changeable(self) -> Place:
        """The folder that may be changed.

        Raises:
            RequestError: 405, there are several.
        """
        if len(self.paths) > 1:
            raise RequestError(
                405,
                f"{self.name} is {len(self.paths)} indices that are only read here; serve the one to change by itself",
                {"allow": "GET"},
            )
        return self.paths[0]

    def _open(self, signature: tuple[Signature, ...] | None) -> None:
        self._opened = None
        try:
            manifest = Manifest.read(self.paths[0])
            if manifest.embeds:
                shared = self._models.load(self.paths[0], manifest)
                opened = Index.open(self.paths, model=_with_own_settings(shared, self.paths[0]))
            else:
                opened = Index.open(self.paths)
                shared = opened.model
            self._opened, self._encoder_of = opened, shared
            self._signature, self.reason = signature, None
        except DimlError as error:  # also of a model that cannot be loaded
            self.reason = str(error)
            raise unavailable(self.name, error) from error


def unavailable(name: str, error: Exception) -> RequestError:
    return RequestError(503, f"the index {name} cannot be used now: {error}", {"retry-after": "1"})


def serve_indexes(
    named: Mapping[str, Sequence[Place]], device: str = "cpu", backend: str = "auto"
) -> dict[str, ServedIndex]:
    """The indices by name, not opened yet."""
    models = Models(device, backend)
    return {name: ServedIndex(name, paths, models) for name, paths in named.items()}


def _with_own_settings(shared: StructuralModel, path: Place) -> StructuralModel:
    """The shared model with the name and the matcher that this index was saved with."""
    from diml.matching import Matcher
    from diml.model.config import read_config
    from diml.model.storage import CONFIG

    config = read_config(path / MODEL / CONFIG)
    return shared.replace(
        matcher=Matcher(**config["matching"]),
        name=str(config["name"]),
        head_fitted_on=config["head_fitted_on"],
        weights_fitted_on=config.get("weights_fitted_on"),
    )


def _signature(paths: Sequence[Place]) -> tuple[Signature, ...] | None:
    """Of the manifests; None where one is missing."""
    try:
        return tuple(map(_signature_of, paths))
    except (OSError, StoreError):
        return None


def _signature_of(path: Place) -> Signature:
    if isinstance(path, Path):
        status = os.stat(path / FILE)
        return status.st_ino, status.st_mtime_ns, status.st_size
    found = (path / FILE).state()
    if found is None:
        raise FileNotFoundError(path / FILE)
    return found.e_tag or found.version or "", int(found.modified.timestamp()), found.size


def _absolute(path: Place) -> Place:
    return Path(os.path.abspath(path)) if isinstance(path, Path) else path
