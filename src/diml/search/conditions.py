"""Conditions on the columns of an index: checked before the engine sees them, and its reasons in one sentence."""

from __future__ import annotations

import re

from diml.errors import UsageError

# A quoted text or name, or a comment, in which nothing has a meaning: 'a', "a", `a`, -- a, /* a */.
_QUOTED = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/"
# What the engine's parser accepts and its planner aborts on: placeholders, and texts with a prefix or in dollars.
_UNSUPPORTED = (
    (r"\?|\$\w*\$|(?<!\w)\$\w*|(?<![:\w]):\w+", "placeholders such as {} are not supported; write the value itself"),
    (r"\b[nNbBrRqQ](?='|\")", "texts with a prefix such as {}'...' are not supported; leave the prefix out"),
)
# Around the engine's own reasons: its steps, and the whole statement again.
_WRAPPERS = (
    r"Error parsing statement: .*?\(sql parser error: (.*)\)$",
    r"Error \w+ (?:sql )?filter\W.*?input: (.*)",
    r".*(?:Arrow error|Query Execution error): (.*)",
)
_TOKEN = re.compile(
    "|".join([f"(?P<quoted>{_QUOTED})", *(f"(?P<u{k}>{pattern})" for k, (pattern, _) in enumerate(_UNSUPPORTED))]),
    re.DOTALL,
)


def as_condition(where: str) -> str:
    """The condition as the engine takes it: in brackets, because it would ignore everything after a semicolon.

    The line break ends a comment.

    Raises:
        UsageError: the condition is empty, or has a form on which the engine would abort.

    >>> as_condition("label = 'cat?'")
    "(label = 'cat?'\\n)"
    >>> as_condition("label = ?")
    Traceback (most recent call last):
    diml.errors.UsageError: the condition 'label = ?' cannot be used: placeholders such as ? are not supported; ...
    """
    if not where.strip() or "\0" in where:
        raise UsageError("expected a condition such as \"label = 'cat'\", got " + repr(where))
    for token in _TOKEN.finditer(where):
        for k, (_, reason) in enumerate(_UNSUPPORTED):
            if found := token.group(f"u{k}"):
                raise UsageError(f"the condition {where!r} cannot be used: {reason.format(found)}")
    return f"({where}\n)"


def engine_reason(error: BaseException, where: str | None = None) -> str:
    """The reason in an error of the engine, in one line, without paths of its sources and without the condition again.

    >>> engine_reason(ValueError("Invalid input, Error parsing statement: SELECT 1 FROM t WHERE (a = \\n) (sql parser "
    ...                          "error: Expected: an expression, found: ))"), "a = ")
    'Expected: an expression, found: )'
    """
    text = re.sub(r", /(?:root|rustc|home|build)/[^\s)]*", "", str(error).strip())
    text = re.sub(r"(?:~{3,}|\s)+", " ", text)  # rulers around the errors of regular expressions
    if where is not None:
        text = text.replace(" ".join(f"({where}\n)".split()), "")
    text = re.sub(r"^(lance error: |LanceError\(\w+\): |Generic [\w/]+ error: |Invalid input, )+", "", text)
    for wrapper in _WRAPPERS:
        if found := re.match(wrapper, text):
            text = found.group(1)
    # What follows are lists of internal columns.
    text = re.split(r"\. (?:Valid fields|Supported types)", text)[0]
    return text[:300].rstrip(". ")
