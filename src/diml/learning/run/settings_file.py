"""The settings of a training run: TOML in, checked and frozen values out."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from diml.data import printable
from diml.errors import UsageError, first_line
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

__all__ = [
    "DataSettings",
    "LossSettings",
    "ModelSettings",
    "OptimSettings",
    "RunSettings",
    "TrainingSettings",
    "load_settings",
]


def load_settings(recipe: Path | None, overrides: Sequence[str] = ()) -> TrainingSettings:
    """The settings of a recipe with changes; what neither says is as the classes here have it.

    Args:
        recipe: a TOML file with the sections data, model, loss, optim and run; None for no file.
        overrides: `section.key=value`, the later ones over the earlier ones and over the file; `none` for no value.

    Raises:
        UsageError: a file that cannot be read, an unknown setting, or a value that is not as expected, by name.

    >>> load_settings(None, ["data.spec=photos", "optim.epochs=5"]).optim.epochs
    5
    >>> load_settings(None, ["data.spec=photos", "optim.lr=fast"])
    Traceback (most recent call last):
    diml.errors.UsageError: optim.lr = 'fast' came; expected a valid number
    """
    from pydantic import ValidationError

    tree = {} if recipe is None else _read(Path(recipe))
    for text in overrides:
        _override(tree, text)
    try:
        return TrainingSettings.model_validate(tree)
    except ValidationError as error:
        where = f"{printable(recipe)}: " if recipe is not None and not overrides else ""
        raise UsageError(where + _sentence(error)) from None


def _read(recipe: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{printable(recipe)}: no such recipe; expected a TOML file of settings") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(recipe)}: cannot be read ({first_line(error)}); expected a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{printable(recipe)}: is not TOML ({first_line(error)}); mend that line") from None


def _override(tree: dict[str, Any], text: str) -> None:
    """Put a value, as text, where its name says; the settings know what it should become."""
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) < 2 or not all(path):
        raise UsageError(f"{printable(text)} came as a setting; expected section.key=value, such as optim.epochs=20")
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{name} came, but the recipe says {key} = {tree!r}; expected a section [{key}] in it")
    tree[path[-1]] = value.strip()


def _sentence(error: ValidationError) -> str:
    """The first of what pydantic found, as: what came; what was expected."""
    problems = error.errors(include_url=False)
    place, kind, came = problems[0]["loc"], problems[0]["type"], problems[0]["input"]
    name = ".".join(str(part) for part in place[:2])
    if kind == "extra_forbidden":
        _unknown(name)
    if name in ("data", "data.spec") and kind in ("missing", "string_too_short"):
        return "data.spec is missing; name the data, such as data.spec=FOLDER"
    if kind == "value_error" and place in ((), ("data",)):
        return _expected(problems[0]["msg"])
    # A setting that may be one of several types has a problem with each of them.
    expected = dict.fromkeys(_expected(each["msg"]) for each in problems if each["loc"][:2] == place[:2])
    shown = repr(came) if not isinstance(came, str) else f"'{printable(came)}'"
    return f"{name} = {shown} came; expected {' or '.join(expected)}"


def _expected(message: str) -> str:
    """Of "Input should be a valid integer, unable to parse string as an integer": a valid integer."""
    expected = message.removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable")[0]
    return f"a number {expected}" if expected.startswith(("greater", "less")) else expected


def _unknown(name: str) -> NoReturn:
    section = name.partition(".")[0]
    inside = [f"{section}.{key}" for key in _SECTIONS[section].model_fields] if section in _SECTIONS else []
    near = difflib.get_close_matches(name, inside, n=1)
    expected = f"did you mean {near[0]}" if near else f"expected one of {', '.join(inside or _SECTIONS)}"
    raise UsageError(f"there is no setting {printable(name)}; {expected}")


_SECTIONS: dict[str, type[Section]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "loss": LossSettings,
    "optim": OptimSettings,
    "run": RunSettings,
}
