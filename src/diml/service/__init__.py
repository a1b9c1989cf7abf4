"""The service: explained search over HTTP, and a page for people who do not use a command line.

The names are imported on first use: the processes that decode images need none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diml.service.app import create_app
    from diml.service.server import serve
    from diml.service.settings import ServiceSettings

_HOMES = {
    "ServiceSettings": "diml.service.settings",
    "create_app": "diml.service.app",
    "serve": "diml.service.server",
}

__all__ = ["ServiceSettings", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diml.service' has no attribute {name!r}", name=name)
    return getattr(importlib.import_module(_HOMES[name]), name)
