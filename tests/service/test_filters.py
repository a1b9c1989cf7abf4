"""Conditions of strangers: what is allowed gives the rows that Python finds, and nothing else reaches the engine."""

from __future__ import annotations

import contextlib
import fnmatch
import re

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.search import Index
from diml.service.filters import DEPTH, TOKENS, check_filter

COLUMNS = ["designer", "wing length"]
LABELS = ["cat", "dog", None, "it's", "a%b", "CAT"]
ROWS = 24


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    made = Index.create(tmp_path_factory.mktemp("filters") / "i.diml")
    maps = FeatureMaps(torch.rand(ROWS, 1, 4, generator=torch.Generator().manual_seed(0)), (1, 1))
    columns = {
        "designer": [("noto", "twemoji", None)[i % 3] for i in range(ROWS)],
        "wing length": [str(i % 4) for i in range(ROWS)],
    }
    labels = [LABELS[i % len(LABELS)] for i in range(ROWS)]
    sizes = [(10 + i, 30 - i) for i in range(ROWS)]
    made.add_maps(maps, paths=[f"{i:02}.png" for i in range(ROWS)], labels=labels, columns=columns, sizes=sizes)
    return made


def row_of(entry):
    return {"label": entry.label, **entry.columns, "path": entry.path, "width": entry.size[0], "height": entry.size[1]}


# Three-valued logic, as SQL has it: None is unknown.
def negated(value):
    return None if value is None else not value


def both(a, b):
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def either(a, b):
    return negated(both(negated(a), negated(b)))


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


COMPARE = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
TEXTS = st.sampled_from(["cat", "dog", "it's", "noto", "x", "", "2", "DOG"])
NUMBERS = st.integers(0, 40)


def like(pattern):
    return re.compile(fnmatch.translate(pattern.replace("%", "*").replace("_", "?")))


def known(test):
    return lambda value: None if value is None else test(value)


@st.composite
def comparisons(draw):
    """A condition of one column, and the function of a row that says the same."""
    if draw(st.booleans()):
        column = draw(st.sampled_from(["width", "height"]))
        value, literal = NUMBERS, str
    else:
        column = draw(st.sampled_from(["label", "designer", "wing length", "path"]))
        value, literal = TEXTS, quoted
    name = f"`{column}`" if " " in column else draw(st.sampled_from([column, column.upper()]))
    kinds = ["compare", "turned", "in", "between", "null"] + (["like"] if literal is quoted else [])
    kind = draw(st.sampled_from(kinds))
    no = draw(st.booleans())
    word = "NOT " if no else ""
    if kind in ("compare", "turned"):
        sign, operand = draw(st.sampled_from(sorted(COMPARE))), draw(value)
        if kind == "compare":
            return f"{name} {sign} {literal(operand)}", lambda r: known(lambda v: COMPARE[sign](v, operand))(r[column])
        return f"{literal(operand)}{sign}{name}", lambda r: known(lambda v: COMPARE[sign](operand, v))(r[column])
    if kind == "in":
        options = draw(st.lists(value, min_size=1, max_size=3))
        listed = ", ".join(map(literal, options))
        return f"{name} {word}IN ({listed})", lambda r: known(lambda v: (v in options) != no)(r[column])
    if kind == "between":
        low, high = draw(value), draw(value)
        text = f"{name} {word}between {literal(low)} and {literal(high)}"
        return text, lambda r: known(lambda v: (low <= v <= high) != no)(r[column])
    if kind == "null":
        return f"{name} IS {word}NULL", lambda r: (r[column] is None) != no
    pattern = draw(st.sampled_from(["c%", "%o%", "_at", "%", "d_g"]))
    return f"{name} {word}LIKE {quoted(pattern)}", lambda r: known(lambda v: bool(like(pattern).match(v)) != no)(
        r[column]
    )


def combined(parts):
    def joined(pair, word, join):
        (a, left), (b, right) = pair
        return f"({a}) {word} ({b})", lambda row: join(left(row), right(row))

    return st.one_of(
        st.tuples(parts, parts).map(lambda pair: joined(pair, "AND", both)),
        st.tuples(parts, parts).map(lambda pair: joined(pair, "or", either)),
        parts.map(lambda part: (f"NOT ({part[0]})", lambda row: negated(part[1](row)))),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.recursive(comparisons(), combined, max_leaves=5))
def test_allowed_conditions_give_the_rows_that_python_finds(index, condition):
    where, test = condition
    # The engine joins two lists of one column, and takes `x IN (1) AND NOT x IN (1)` for false also where x is NULL.
    listed = re.findall(r"(\w+) (?:NOT )?IN \(", where)
    assume(len(listed) == len({*listed}))
    assert check_filter(where, COLUMNS) == where
    expected = [entry.path for entry in index.entries() if test(row_of(entry)) is True]
    assert [entry.path for entry in index.entries(where)] == expected, where


WORDS = ["label", "width", "designer", "nothing", "=", "<", "(", ")", ",", "'a'", "3", "-1", "2.5", "and", "OR", "not"]
WORDS += [
    "in",
    "like",
    "between",
    "is",
    "null",
    "true",
    "--",
    ";",
    "/*",
    "select",
    "cast",
    "+",
    "*",
    "''",
    "`",
    '"a"',
    "?",
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join) | st.text(max_size=30))
def test_whatever_is_accepted_is_no_more_than_a_usage_error(index, where):
    # A comparison of a text with a number, say, is refused by the engine, in a sentence.
    with contextlib.suppress(UsageError):
        index.count(check_filter(where, COLUMNS))


@pytest.mark.parametrize(
    "where",
    [
        "length(label) > 1",
        "label = 'a'; DROP TABLE images",
        "label = 'a' -- comment",
        "label = 'a' /* comment */",
        "label = (SELECT label FROM images)",
        "label ~ '(a+)+'",
        "regexp_match(label, 'a')",
        "width + 1 = 2",
        "label",
        "1 = 1",
        "'a' = 'a'",
        "CAST(width AS STRING) = '1'",
        "width::text = '1'",
        "label = $1",
        "label = ?",
        'label = "cat"',
        "label LIKE path",
        "label IN ()",
        "thumbnail IS NULL",
        "pooled IS NULL",
        "label = 'unclosed",
        "label = 'a' OR",
        "(label = 'a'",
        "label = 'a')",
        "",
        "   ",
    ],
)
def test_everything_else_is_refused(where):
    with pytest.raises(UsageError, match="the condition"):
        check_filter(where, COLUMNS)


def test_limits():
    with pytest.raises(UsageError, match="has 2001 characters; expected at most 2000"):
        check_filter("x" * 2001, [])
    deep = "(" * (DEPTH + 1) + "label = 'a'" + ")" * (DEPTH + 1)
    with pytest.raises(UsageError, match="brackets or NOT more than 32 deep"):
        check_filter(deep, [])
    with pytest.raises(UsageError, match="brackets or NOT more than 32 deep"):
        check_filter("NOT " * 400 + "label = 'a'", [])
    wide = "label IN (" + ",".join(["'a'"] * TOKENS) + ")"
    with pytest.raises(UsageError, match="parts; expected at most 500"):
        check_filter(wide, [], length=5000)


def test_the_deepest_condition_is_answered(index):
    where = "NOT (" * (DEPTH // 2 - 1) + "label = 'cat'" + ")" * (DEPTH // 2 - 1)
    assert index.count(check_filter(where, COLUMNS)) >= 0
    many = " OR ".join(["label = 'cat'"] * (TOKENS // 4))
    assert index.count(check_filter(many, COLUMNS, length=5000)) == 4
