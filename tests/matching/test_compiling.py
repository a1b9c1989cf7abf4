"""Compiled code is kept for the sources that it was made from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diml.matching.kernels.compiling import SOURCES, digest
from diml.matching.kernels.lanes_kernel import score


def test_another_source_is_another_digest(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    (tmp_path / "b.py").write_text("x = 2\n")
    changed = digest(tmp_path)
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    assert len({first, changed, digest(tmp_path)}) == 3


def test_code_is_kept_under_the_digest_of_all_kernels():
    """A function has the code of those it calls in other files, of which numba knows nothing."""
    kept = [path.name for path in Path(score.stats.cache_path).glob(f"*score*{SOURCES}*.nbi")]
    assert len(kept) == 1


@pytest.mark.long
@pytest.mark.parametrize("features", ["", "+avx2,+fma"])
def test_on_a_processor_that_has_fewer_instructions(features, tmp_path):
    """Half precision is then read by whole numbers, and a SIMD value takes several registers."""
    tests = Path(__file__).parent / "test_kernels.py", Path(__file__).parents[1] / "search" / "test_coded_scores.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, tests)],
        env=os.environ
        | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
