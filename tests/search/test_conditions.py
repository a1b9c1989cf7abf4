"""Conditions that the engine would abort on are refused before it sees them; its other reasons arrive whole."""

import os
import sys

import pytest

from diml.cli import main
from diml.errors import UsageError
from diml.search import Index
from diml.search.conditions import as_condition


@pytest.fixture
def index(model, make_folder, tmp_path):
    index = Index.create(tmp_path / "i.diml", model, dim=0)
    index.add(make_folder(6), labels_from="folder")
    return index


REFUSED = {
    "label = ?": "placeholders such as ?",
    "label = $1": "placeholders such as $1",
    "$abel.x": "placeholders such as $abel",
    "label = $name": "placeholders such as $name",
    "label = :name": "placeholders such as :name",
    "label = $$cat$$": "placeholders such as $$",
    "label = N'cat'": "prefix such as N'...'",
    "label = b'cat'": "prefix such as b'...'",
    "label = r'cat'": "prefix such as r'...'",
    "width = 'x'": "could not convert to literal of type",
    "label = ": "Expected: an expression",
    "(width": "Expected: )",
    "label = 'cat": "Unterminated string literal",
    "nothing = 1": "No field named nothing",
    "width": "does not return a boolean",
    "label ~ 'a'": "Operator ~ is not supported",
    "label LIKE 3": "common type",
    "label IN (SELECT 1)": "is not supported",
    "regexp_like(label, '(')": "regex parse error",
    "label = date'2020-01-01'": "Cannot cast string",
    "  ": "expected a condition",
    "label = 'a\0b'": "expected a condition",
}


@pytest.mark.parametrize("where", REFUSED)
def test_the_reason_is_one_sentence(where, index, tmp_path, capfd):
    with pytest.raises(UsageError) as refused:
        index.search(tmp_path / "photos" / "a" / "0000.png", where=where)
    message = str(refused.value)
    assert REFUSED[where] in message
    assert "\n" not in message.replace(repr(where), "")
    assert ".rs" not in message
    assert capfd.readouterr().err == ""


QUOTED = [
    *("label = 'a'", "label == 'a?'", "label = 'it''s :not $1'", "\"label\" = 'a' -- ?", "width::int > 0"),
    *("`label` = 'b'", "width > 0 /* :x */", "label LIKE '%?%'", "path = 'b''c'"),
]


@pytest.mark.parametrize("where", QUOTED)
def test_what_is_quoted_is_no_placeholder(where, index):
    assert index.search(index.maps(index.paths[:1]), where=where).where == where


def test_the_condition_is_bracketed():
    assert as_condition("a OR b; DROP") == "(a OR b; DROP\n)"


@pytest.mark.parametrize("where", ["label = ?", "label = N'cat'", "width = 'x'"])
def test_the_command_says_it_in_a_line(where, emoji, emoji_index, monkeypatch, capfd):
    image = str(next(emoji.rglob("*.png")))
    monkeypatch.setattr(sys, "argv", ["diml", "search", str(emoji_index), image, f"--where={where}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("seconds", [2**33 * 1.5, 4e10, -(2**31), 0])
def test_a_file_of_any_time_is_stored_once(seconds, model, make_folder, tmp_path):
    folder = make_folder(3)
    for file in folder.rglob("*.png"):
        try:
            os.utime(file, (seconds, seconds))
        except (OverflowError, OSError):
            pytest.skip("the file system has no such time")
    index = Index.create(tmp_path / "i.diml", model, dim=0)
    assert index.add(folder).added == 3
    again = index.add(folder)
    assert (again.added, again.changed, again.unchanged) == (0, 0, 3)
