"""Reading files out of Debian packages, without installing them or unpacking them to disk."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BuildError

_LARGEST_MEMBER = 100_000_000


@dataclass(frozen=True)
class Package:
    """A package file that was fetched."""

    name: str
    version: str
    sha256: str
    file: Path

    def members(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """The regular files whose path (such as usr/share/...) is wanted, read in memory, in the package's order."""
        command = ["dpkg-deb", "--fsys-tarfile", str(self.file)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as tar,
        ):
            for member in tar:
                path = member.name.removeprefix("./")
                if member.isreg() and member.size <= _LARGEST_MEMBER and wanted(path):
                    file = tar.extractfile(member)
                    if file is not None:
                        yield path, file.read()


def fetch(name: str, folder: Path) -> Package:
    """Download a package into a folder by `apt-get download`, which needs no rights of an administrator.

    Raises:
        BuildError: the tools are missing, or the package cannot be fetched.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise BuildError(f"{tool}, which fetches {name}, is not installed; build this collection on Debian")
    done = _run(["apt-get", "download", "-q", name], folder)
    files = sorted(folder.glob(f"{name}_*.deb"))
    if done.returncode or not files:
        detail = " ".join(done.stderr.split())[:300] or "without a message"
        raise BuildError(f"apt-get download {name} failed ({detail}); run apt-get update and check the network")
    version = _run(["dpkg-deb", "--field", str(files[0]), "Version"], folder).stdout.strip()
    return Package(name, version, hashlib.sha256(files[0].read_bytes()).hexdigest(), files[0])


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{' '.join(command[:3])} took more than 15 minutes; check the network") from None
