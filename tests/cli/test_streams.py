"""Commands whose output or errors go nowhere, to a full disk, or to a reader that leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIML = f"{sys.executable} -c 'from diml.cli import main; main()'"
COMMANDS = ("explain", "index", "search", "info", "evaluate", "faithfulness", "bench", "train", "report")


def shell(command):
    """Run a shell command in which `diml` is this package's."""
    text = command.replace("diml ", f"{DIML} ")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", text], capture_output=True, text=True, env=os.environ, cwd=ROOT, check=False
    )


STREAMS = ((">&-", 0), ("2>&-", 0), ("<&-", 0), (">&- 2>&-", 0), ("| head -n 1", 0), (">/dev/full", 1))


def assert_help(command, streams, code):
    ran = shell(f"diml {command} --help {streams}")
    assert ran.returncode == code, (streams, ran.stderr)
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == (code == 1), (streams, ran.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "code"), STREAMS)
def test_help_survives_what_a_shell_does_to_its_streams(streams, code):
    assert_help("explain", streams, code)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_survives_a_reader_that_leaves_and_a_full_disk(command):
    for streams, code in STREAMS[-2:]:
        assert_help(command, streams, code)


def test_a_wrong_call_keeps_its_exit_code_without_standard_error():
    for streams in ("2>&-", ">&- 2>&-", "2>/dev/full"):
        ran = shell(f"diml explain missing.jpg other.jpg {streams}")
        assert ran.returncode == 2
        assert ran.stdout == ran.stderr == ""


@pytest.mark.long
def test_a_real_answer_with_its_streams_closed(tmp_path):
    cat = "sample/photos/chelsea.jpg"
    model = "-m timm:test_vit?weights=random"
    out = tmp_path / "why.png"
    for streams in (">&- 2>&-", "| head -n 1"):
        ran = shell(f"diml explain {cat} {cat} {model} --out {out} {streams}")
        assert ran.returncode == 0, (streams, ran.stderr)
        assert "Traceback" not in ran.stderr
        assert out.read_bytes().startswith(b"\x89PNG")
        out.unlink()
    full = shell(f"diml explain {cat} {cat} {model} --json >/dev/full")
    assert full.returncode == 1
    assert full.stderr == "diml: No space left on device; free some space or check the permissions, and run again\n"


@pytest.mark.long
def test_a_long_answer_to_a_reader_that_leaves(tmp_path):
    cat = "sample/photos/chelsea.jpg"
    ran = shell(f"diml explain {cat} {cat} -m 'timm:test_vit?weights=random' --grid 10 --json | head -c 100")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
