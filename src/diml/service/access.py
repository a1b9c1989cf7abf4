"""What the settings say about who may ask."""

from __future__ import annotations

from diml.errors import UsageError
from diml.service.guard import LOOPBACK
from diml.service.settings import ServiceSettings
from diml.service.token import MAKE, read_token


def access_token(settings: ServiceSettings) -> str | None:
    """The token of the service; None where it needs none.

    Raises:
        UsageError: there is none, and other machines can reach the service, or it may change indices; or its file
            cannot be used.
    """
    if settings.token_file is not None:
        return read_token(settings.token_file)
    if settings.host not in LOOPBACK:
        raise UsageError(f"--host {settings.host} lets other machines in, which needs a --token-file; {MAKE}")
    if settings.writable:
        raise UsageError(f"--writable needs a --token-file, because any web page can reach this machine; {MAKE}")
    return None


def allowed_hosts(settings: ServiceSettings) -> frozenset[str]:
    """The names under which the service is reached; empty for any, where it listens on all addresses with a token.

    >>> sorted(allowed_hosts(ServiceSettings.of(indexes=["photos.diml"], allow_hosts=["photos.example"])))
    ['127.0.0.1', '::1', 'localhost', 'photos.example']
    """
    if settings.host in ("0.0.0.0", "::") and not settings.allow_hosts:
        return frozenset()
    return LOOPBACK | {settings.host, *settings.allow_hosts}
