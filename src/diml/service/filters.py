"""Conditions on columns that come from strangers: a list of allowed forms, and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from diml.errors import UsageError
from diml.search.schema import PLAIN

# The engine's parser calls itself for each bracket and each NOT: deep conditions would exhaust its stack.
DEPTH = 32
TOKENS = 500
COMPARISONS = ("=", "!=", "<>", "<=", ">=", "<", ">")
WORDS = frozenset({"and", "or", "not", "in", "like", "ilike", "between", "is", "null", "true", "false"})
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>`[^`]+`)|(?P<number>-?\d+(?:\.\d+)?(?![\w.]))"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign>!=|<>|<=|>=|[=<>(),]))",
    re.UNICODE,
)
ALLOWED = "comparisons of columns with texts in '...' or numbers, IN, LIKE, BETWEEN, IS NULL, AND, OR, NOT and brackets"


class Token(NamedTuple):
    """A piece of a condition: `kind` is text, number, column, sign or the word itself in lower case."""

    kind: str
    text: str


def check_filter(where: str, columns: Sequence[str], *, length: int = 2000) -> str:
    """The condition, unchanged, if it has one of the allowed forms.

    Allowed are comparisons (`= != <> < <= > >=`) of a column of the index with a text, a number, TRUE or FALSE, also
    the other way round; `[NOT] IN (...)`, `[NOT] LIKE`, `ILIKE`, `BETWEEN ... AND ...`, `IS [NOT] NULL`; and their
    combination by AND, OR, NOT and brackets. There are no functions, no arithmetic, no comments and no subqueries.

    Args:
        where: the condition.
        columns: further columns of the index; a name with spaces stands in backticks.
        length: characters that a condition may have.

    Raises:
        UsageError: another form, or a condition that is too long, has too many parts or too many brackets.

    >>> check_filter("label = 'cat' AND width > 500", [])
    "label = 'cat' AND width > 500"
    >>> check_filter("length(label) > 3", [])
    Traceback (most recent call last):
    diml.errors.UsageError: the condition 'length(label) > 3' is not allowed at 'length': ...
    """
    if len(where) > length:
        raise UsageError(f"the condition has {len(where)} characters; expected at most {length}")
    names = {name.lower() for name in (*PLAIN, *columns)}
    tokens = list(_tokens(where, names))
    if len(tokens) > TOKENS:
        raise UsageError(f"the condition has {len(tokens)} parts; expected at most {TOKENS}")
    _Parser(where, tokens, sorted(names)).condition()
    return where


def _tokens(where: str, names: set[str]) -> Iterator[Token]:
    at, end = 0, len(where.rstrip())
    while at < end:
        found = _TOKEN.match(where, at)
        if found is None:
            raise _refused(where, where[at:].split(maxsplit=1)[0][:20], f"expected {ALLOWED}")
        at = found.end()
        text = found.group().strip()
        kind = found.lastgroup or ""
        if kind == "word" and text.lower() in WORDS and text.lower() not in names:
            yield Token(text.lower(), text)
        elif kind in ("word", "quoted"):
            name = text.strip("`")
            if name.lower() not in names:
                raise _refused(where, text, f"expected one of the columns {', '.join(sorted(names))}")
            yield Token("column", text)
        else:
            yield Token(kind, text)


class _Parser:
    """A parser by recursive descent; it computes nothing."""

    def __init__(self, where: str, tokens: list[Token], names: list[str]) -> None:
        self.where, self.tokens, self.names = where, tokens, names
        self.at = self.depth = 0

    def condition(self) -> None:
        self._either()
        if self.at < len(self.tokens):
            raise self._unexpected()

    def _either(self) -> None:
        self._both()
        while self._taken("or"):
            self._both()

    def _both(self) -> None:
        self._single()
        while self._taken("and"):
            self._single()

    def _single(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise UsageError(f"the condition has brackets or NOT more than {DEPTH} deep; write it with fewer")
        if self._taken("not"):
            self._single()
        elif self._taken("sign", "("):
            self._either()
            self._need("sign", ")")
        else:
            self._comparison()
        self.depth -= 1

    def _comparison(self) -> None:
        column = self._operand()
        if self._taken("is"):
            self._taken("not")
            self._need("null")
        elif self._next().kind == "sign" and self._next().text in COMPARISONS:
            self.at += 1
            if not self._operand() and not column:
                raise _refused(self.where, self.tokens[self.at - 1].text, "expected a column on one side")
        else:
            self._taken("not")
            self._listed()

    def _listed(self) -> None:
        if self._taken("in"):
            self._need("sign", "(")
            self._value()
            while self._taken("sign", ","):
                self._value()
            self._need("sign", ")")
        elif self._taken("like") or self._taken("ilike"):
            self._need("text")
        elif self._taken("between"):
            self._value()
            self._need("and")
            self._value()
        else:
            raise self._unexpected()

    def _operand(self) -> bool:
        """A column, for which it returns True, or a value."""
        if self._taken("column"):
            return True
        self._value()
        return False

    def _value(self) -> None:
        if not any(self._taken(kind) for kind in ("text", "number", "true", "false")):
            raise self._unexpected()

    def _next(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else Token("end", "the end")

    def _taken(self, kind: str, text: str | None = None) -> bool:
        found = self._next()
        taken = found.kind == kind and text in (None, found.text)
        self.at += taken
        return taken

    def _need(self, kind: str, text: str | None = None) -> None:
        if not self._taken(kind, text):
            raise self._unexpected()

    def _unexpected(self) -> UsageError:
        return _refused(self.where, self._next().text, f"expected {ALLOWED}")


def _refused(where: str, at: str, expected: str) -> UsageError:
    shown = where if len(where) <= 200 else where[:200] + "..."
    return UsageError(f"the condition {shown!r} is not allowed at {at!r}: {expected}")
