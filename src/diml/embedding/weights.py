"""Weight files: recognised by their content, read without running code in them, and fitted to a network's names."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diml.errors import ModelError, first_line
from diml.files import AnyPath, user_path

# Entries of a checkpoint that hold a state dict, the preferred ones first: averaged weights are what authors evaluate.
PREFERRED = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *(
        "state_dict",
        "model_state_dict",
        "model",
        "teacher",
        "student",
        "network",
        "net",
        "encoder",
        "weights",
        "params",
    ),
)
# Nesting such as {"checkpoint": {"model": {"state_dict": ...}}}.
DEPTH = 4
# Longest safetensors header that is looked for, as in the format's own reader.
LONGEST_HEADER = 100_000_000
# Words of torch's and safetensors' errors about files that end too early.
DAMAGED = r"(?i)trunc|unexpected e|ran out|central directory|incomplete|invalid ?header|invalid magic|corrupt"


@dataclass(frozen=True)
class FittedState:
    """Tensors under a network's own names.

    Attributes:
        tensors: by the network's names.
        missing: names of the network that the file does not have.
        extra: names of the file that the network does not have, without the prefix.
        prefix: what stood before the network's names in the file, such as `module.model.`.
    """

    tensors: dict[str, Tensor]
    missing: list[str]
    extra: list[str]
    prefix: str


def read_weights(file: AnyPath) -> dict[str, Tensor]:
    """The state dict in a safetensors file or a PyTorch checkpoint, whatever the ending of its name.

    Checkpoints that hold a state dict in an entry, such as `state_dict`, `model_state_dict` or Lightning's, are
    searched for it; averaged weights (`state_dict_ema`, `model_ema`) are preferred where both are there. Entries that
    are not tensors are ignored. No pickled code is run.

    Raises:
        ModelError: the file is missing, is not a weight file, is truncated, holds pickled objects, or has no tensors.
    """
    file = user_path(file)
    held = _loaded(file)
    state = _state_in(held)
    if state is None:
        raise ModelError(
            f"{file}: expected a state dict (tensors by name), got {_what(held)}; "
            "save model.state_dict() as .safetensors"
        )
    return state


def fit_names(state: Mapping[str, Tensor], own: Iterable[str]) -> FittedState:
    """The tensors of a state dict under a network's own names, with a common prefix removed.

    Wrappers put a prefix before every name: `module.` (data parallel), `_orig_mod.` (compiled), `model.` and
    `backbone.` (Lightning and others), `module.encoder_q.` (momentum encoders). The prefix under which most of the
    network's names are found is removed; at a tie an averaged (`ema`) copy is preferred, then the first in the file.

    >>> state = {"module.model.conv.weight": torch.ones(1), "module.fc.bias": torch.ones(1)}
    >>> fitted = fit_names(state, ["conv.weight"])
    >>> fitted.prefix, list(fitted.tensors), fitted.extra
    ('module.model.', ['conv.weight'], ['module.fc.bias'])
    """
    own = list(own)
    plain = {_without_compilation(name): value for name, value in state.items()}
    prefix = _common_prefix(plain, set(own))
    tensors = {name: plain[prefix + name] for name in own if prefix + name in plain}
    used = {prefix + name for name in tensors}
    extra = [name.removeprefix(prefix) for name in plain if name not in used]
    return FittedState(tensors, [name for name in own if name not in tensors], extra, prefix)


def _without_compilation(name: str) -> str:
    """`torch.compile` puts `_orig_mod.` before the names of whatever part it wraps."""
    return name.replace("_orig_mod.", "")


def _common_prefix(state: Mapping[str, Tensor], own: set[str]) -> str:
    found: Counter[str] = Counter()
    for name in state:
        for prefix, rest in _splits(name):
            if rest in own:
                found[prefix] += 1
    # Sorting is stable, so that equal counts keep the order of the file.
    ranked = sorted(found, key=lambda prefix: (-found[prefix], "ema" not in prefix))
    return ranked[0] if ranked else ""


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Every way to split a name into a prefix that ends in a dot and the rest; first without a prefix."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _loaded(file: Path) -> Any:
    _check_file(file)
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
        if _is_safetensors(start, file.stat().st_size):
            from safetensors.torch import load_file

            return load_file(file)
        if reason := _not_weights(start):
            raise ModelError(f"{file}: {reason}")
        if start.startswith(b"PK") and not zipfile.is_zipfile(file):
            raise ModelError(f"{file}: is truncated, its end is missing; download or copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unusual file either loads or raises
            # Opened here, as torch would go by the ending of the name.
            with file.open("rb") as opened:
                return torch.load(opened, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error}); check the permissions") from error
    except Exception as error:
        raise ModelError(f"{file}: {_why_not(error)}") from error


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise ModelError(f"{file}: is a folder; expected a .safetensors or .pth file")
    if not file.is_file():
        raise ModelError(f"{file}: no such weight file; expected a .safetensors or .pth file")
    if file.stat().st_size == 0:
        raise ModelError(f"{file}: is empty (0 bytes); download or copy it again")


def _is_safetensors(start: bytes, size: int) -> bool:
    """The format begins with the length of a JSON header, in 8 bytes, and the header."""
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= length <= min(LONGEST_HEADER, max(size, 0))


def _not_weights(start: bytes) -> str | None:
    """Why a file that begins so cannot be a checkpoint; None where it may be one."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights themselves; run git lfs pull, or download the file"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not weights; the download probably failed or needs a login, so download it again"
    # Zip archive, pickle, and the tar archive of the first versions of PyTorch.
    if not start.startswith((b"PK", b"\x80")) and start[257:262] != b"ustar":
        return "is neither a safetensors file nor a PyTorch checkpoint; expected a .safetensors or .pth file"
    return None


def _why_not(error: Exception) -> str:
    """One sentence for what torch or safetensors raised, whose messages have many lines and terminal codes."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    remedy = "where you trust it, load it with weights_only=False and save its state dict alone with torch.save"
    if found := re.search(r"(?:GLOBAL|class|instruction|opcode) `?([A-Za-z_][\w.]*\.\w+)", text):
        return f"contains a pickled {found.group(1)}, which would run code when loaded; {remedy}"
    if "weights_only" in text.lower() or "unpickl" in type(error).__name__.lower():
        return f"contains pickled objects other than tensors, which would run code when loaded; {remedy}"
    if isinstance(error, EOFError) or re.search(DAMAGED, text):
        return "is truncated or damaged; download or copy it again"
    return f"cannot be read as weights ({first_line(Exception(text))}); {remedy}"


def _state_in(held: Any) -> dict[str, Tensor] | None:
    """The preferred state dict in a checkpoint."""
    found = list(_states(held, (), DEPTH))
    if not found:
        return None

    def rank(place: tuple[tuple[str, ...], dict[str, Tensor]]) -> tuple[int, int]:
        keys, state = place
        known = [PREFERRED.index(key) for key in keys if key in PREFERRED]
        return (min(known, default=len(PREFERRED)), -len(state))

    return min(found, key=rank)[1]


def _states(held: Any, keys: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    if not isinstance(held, Mapping):
        return
    tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    if depth:
        for name, value in held.items():
            # The moments of an optimiser are tensors by number, not by name.
            if isinstance(name, str) and "optim" not in name.lower():
                yield from _states(value, (*keys, name), depth - 1)


def _what(held: Any) -> str:
    if not isinstance(held, Mapping):
        return f"a {type(held).__name__}"
    names = [str(name)[:40] for name in held]
    return f"a dict with the entries {', '.join(names[:5])}" if names else "an empty dict"
