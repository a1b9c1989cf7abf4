"""Settings from a TOML file and from `section.key=value`, with errors that name the setting."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from diml.data import printable
from diml.errors import UsageError, first_line
from diml.files import AnyPath, user_path
from diml.learning.run.settings import (
    DataSettings,
    LossSettings,
    ModelSettings,
    OptimSettings,
    RunSettings,
    Section,
    TrainingSettings,
)

if TYPE_CHECKING:
    from pydantic import ValidationError

# Larger recipes are not read.
MAX_BYTES = 1_000_000


def load_settings(recipe: AnyPath | None, overrides: Sequence[str] = ()) -> TrainingSettings:
    """The settings of a recipe with changes; everything else has its default.

    Args:
        recipe: a TOML file with the sections data, model, loss, optim and run; None for no file.
        overrides: `section.key=value`; they take precedence over the file, and later ones over earlier ones. The value
            `none` stands for no value.

    Raises:
        UsageError: the file cannot be read, or a setting is unknown or invalid; the message names it.

    >>> load_settings(None, ["data.spec=photos", "optim.epochs=5"]).optim.epochs
    5
    >>> load_settings(None, ["data.spec=photos", "optim.lr=fast"])
    Traceback (most recent call last):
    diml.errors.UsageError: expected optim.lr to be a valid number, got 'fast'
    """
    from pydantic import ValidationError

    tree = {} if recipe is None else _read(user_path(recipe))
    for text in overrides:
        _override(tree, text)
    try:
        return TrainingSettings.model_validate(tree)
    except ValidationError as error:
        where = f"{printable(recipe)}: " if recipe is not None and not overrides else ""
        raise UsageError(where + _sentence(error)) from None


def _read(recipe: Path) -> dict[str, Any]:
    try:
        with open(recipe, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(
                f"{printable(recipe)}: has more than {MAX_BYTES:,} bytes; expected a TOML file of settings"
            )
        return tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{printable(recipe)}: no such recipe; expected a TOML file of settings") from None
    except RecursionError:
        raise UsageError(f"{printable(recipe)}: is nested too deeply; expected a TOML file of settings") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(recipe)}: cannot be read ({first_line(error)}); expected a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{printable(recipe)}: is not TOML ({first_line(error)}); correct that line") from None


def _override(tree: dict[str, Any], text: str) -> None:
    """Put a value into the tree as text; validation converts it to the type of the setting."""
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) < 2 or not all(path):
        raise UsageError(f"expected section.key=value, such as optim.epochs=20, got {printable(text)}")
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{name}: expected a section [{key}] in the recipe, got {key} = {tree!r}")
    tree[path[-1]] = value.strip()


def _sentence(error: ValidationError) -> str:
    """The first problem that pydantic found, as one sentence."""
    problems = error.errors(include_url=False)
    place, kind, value = problems[0]["loc"], problems[0]["type"], problems[0]["input"]
    name = ".".join(str(part) for part in place[:2])
    if kind == "extra_forbidden":
        _unknown(name)
    if name in ("data", "data.spec") and kind in ("missing", "string_too_short"):
        return "data.spec is missing; name the data, such as data.spec=FOLDER"
    if kind == "value_error" and place in ((), ("data",)):
        return _expected(problems[0]["msg"])
    # A setting of several possible types has one problem for each of them.
    expected = dict.fromkeys(_expected(each["msg"]) for each in problems if each["loc"][:2] == place[:2])
    shown = repr(value) if not isinstance(value, str) else f"'{printable(value)}'"
    return f"expected {name} to be {' or '.join(expected)}, got {shown}"


def _expected(message: str) -> str:
    """From "Input should be a valid integer, unable to parse string as an integer": a valid integer."""
    expected = message.removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable")[0]
    expected = expected.replace("String should have at least", "a text of at least")
    return f"a number {expected}" if expected.startswith(("greater", "less")) else expected


def _unknown(name: str) -> NoReturn:
    section = name.partition(".")[0]
    inside = [f"{section}.{key}" for key in _SECTIONS[section].model_fields] if section in _SECTIONS else []
    near = difflib.get_close_matches(name, inside, n=1)
    expected = f"did you mean {near[0]}" if near else f"expected one of {', '.join(inside or _SECTIONS)}"
    raise UsageError(f"unknown setting {printable(name)}; {expected}")


_SECTIONS: dict[str, type[Section]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "loss": LossSettings,
    "optim": OptimSettings,
    "run": RunSettings,
}
