"""Claims: who makes an index on an object store, where there are no file locks.

A claim is an object that stands where the manifest will be. It is written only if nothing is there, or over the very
version that was read, so of several processes one gets it. Its owner writes it anew every few seconds; one that has not
changed for `LEASE` seconds, by the clock of whoever waits for it, is taken over. The manifest is written over the claim
under the same condition, so an owner that was taken for dead and wakes up later cannot complete its index.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from typing import Any

from diml.errors import StoreError
from diml.object_stores import Stored
from diml.search.object_path import ObjectPath

FORMAT = "diml-index-claim"
# Seconds after which a claim that does not change is that of a dead process, and between two changes of a living one.
LEASE, RENEWAL, POLL = 20.0, 4.0, 0.25


def is_claim(content: bytes) -> bool:
    """Whether an object that stands where a manifest belongs is a claim.

    >>> is_claim(b'{"format": "diml-index-claim", "owner": "a", "renewed": 1}'), is_claim(b'{"format": "diml-index"}')
    (True, False)
    """
    try:
        return bool(json.loads(content)["format"] == FORMAT)
    except (ValueError, KeyError, TypeError):
        return False


class Claim:
    """The right to make the index that a file will be the manifest of, or to unmake it.

    Entering waits until nobody else has it. Where there is an index by then, there is nothing to claim: `held` is
    False. Leaving without `replace` gives it up.
    """

    def __init__(self, file: ObjectPath) -> None:
        self._file = file
        self._owner = secrets.token_hex(8)
        self._renewed = 0
        self._version: Stored | None = None
        self._changing = threading.Lock()
        self._ended = threading.Event()

    @property
    def held(self) -> bool:
        return self._version is not None

    def __enter__(self) -> Claim:
        seen: tuple[bytes, float] | None = None
        while not self.held:
            found = self._file.read()
            if found is None:
                self._take(None)
                continue
            content, version = found
            if not is_claim(content):
                return self
            if seen is None or seen[0] != content:
                seen = content, time.monotonic()
            elif time.monotonic() - seen[1] > LEASE:
                self._take(version)
            if not self.held:
                time.sleep(POLL)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it up, if it is held."""
        self._ended.set()
        with self._changing:
            if self.held:
                self._version = None
                found = self._file.read()
                if found is not None and self._owns(found[0]):
                    self._file.delete()

    def try_take(self) -> bool:
        """Claim without waiting; the age of another's claim is that by the clock of this machine."""
        found = self._file.state()
        if found is None:
            self._take(None)
        elif time.time() - found.modified.timestamp() > LEASE:
            current = self._file.read()
            self._take(None if current is None else current[1])
        return self.held

    def take_back(self, manifest: Stored) -> bool:
        """Claim an index that exists, to unmake it; False if its manifest is not this version any more."""
        self._take(manifest)
        return self.held

    def replace(self, manifest: bytes) -> None:
        """Complete the index; this ends the claim.

        Raises:
            StoreError: another process has taken over.
        """
        with self._changing:
            version, self._version = self._version, None
            self._ended.set()
            written = version is not None and self._file.write(manifest, over=version)
            if not written and self._now() != manifest:
                raise self._lost()

    def _take(self, over: Stored | None) -> None:
        content = self._content()
        self._file.write(content, over=over)
        self._version = self._own_version()
        if self.held:
            threading.Thread(target=self._renew, name="diml-claim", daemon=True).start()

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL):
            with self._changing:
                if self._version is None:
                    return
                try:
                    content = self._content()
                    self._file.write(content, over=self._version)
                    self._version = self._own_version()
                except StoreError:
                    continue  # out of reach for the moment; the next write tells whether it was too long

    def _content(self) -> bytes:
        self._renewed += 1
        values: dict[str, Any] = {"format": FORMAT, "owner": self._owner, "renewed": self._renewed}
        return json.dumps(values).encode()

    def _now(self) -> bytes | None:
        found = self._file.read()
        return None if found is None else found[0]

    def _own_version(self) -> Stored | None:
        """That of the claim, if it is this one. What a write answers is not enough: sent again, because its answer was
        lost, it finds what it wrote itself.
        """
        found = self._file.read()
        return found[1] if found is not None and self._owns(found[0]) else None

    def _owns(self, content: bytes) -> bool:
        return is_claim(content) and json.loads(content).get("owner") == self._owner

    def _lost(self) -> StoreError:
        return StoreError(
            f"{self._file} was taken over by another process, which did not hear of this one for {LEASE:.0f} s; run "
            "the same command again"
        )
