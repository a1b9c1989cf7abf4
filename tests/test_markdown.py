"""Tables are Markdown, and aligned as plain text."""

import pytest

from diml.markdown import table


def test_words_are_left_and_numbers_right():
    assert table(["a", "b", "c"], [["xyzw", "1", "10"], ["x", "100000", "2"]], left=1).splitlines() == [
        "| a    |      b |   c |",
        "| :--- | -----: | --: |",
        "| xyzw |      1 |  10 |",
        "| x    | 100000 |   2 |",
    ]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_all_lines_are_equally_long(left):
    lines = table(["loss", "n"], [["margin", "3"], ["", "1234"]], left=left).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [rule.startswith(":") for rule in lines[1].strip("| ").split(" | ")] == [at < left for at in range(2)]


def test_a_table_without_rows_is_its_header():
    assert table(["a"], []) == "| a   |\n| :-- |"


def test_a_bar_in_a_cell_does_not_split_it():
    assert table(["a"], [["x|y"]]).splitlines()[2] == "| x\\|y |"


def test_every_row_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="shorter"):
        table(["a", "b"], [["1"]])
