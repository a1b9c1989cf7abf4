"""A file is written whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from diml.files import TEMPORARY, write_atomic


@pytest.mark.parametrize("durable", [False, True])
def test_it_writes_and_replaces(tmp_path, durable):
    path = tmp_path / "a.txt"
    write_atomic(path, b"first", durable=durable)
    write_atomic(str(path), lambda file: file.write(b"second"), durable=durable)
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("not a picture"), KeyboardInterrupt("Ctrl-C")]
)
def test_a_failure_leaves_the_former_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fails(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error), match=str(error.args[-1])):
        write_atomic(path, fails)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_that_fails_is_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_atomic(tmp_path / "a.txt", lambda file: 1 / 0)
    assert os.listdir(tmp_path) == []


def test_a_replacement_that_fails_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "a.txt", b"new", durable=True)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no" / "a.txt", b"new")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert os.listdir(tmp_path / "folder") == ["real.txt"]


def test_a_long_name_is_written(tmp_path):
    path = tmp_path / ("a" * 255)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_kill_leaves_the_former_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    script = (
        "import os, signal, sys; from diml.files import write_atomic\n"
        "def write(file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(sys.argv[1], write)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    left = [name for name in os.listdir(tmp_path) if name != "a.txt"]
    assert len(left) == 1
    assert left[0].startswith("a.txt.")
    assert left[0].endswith(TEMPORARY)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
