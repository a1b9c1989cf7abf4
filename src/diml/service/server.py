"""The server process: where it listens, what it prints, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from diml.errors import UsageError
from diml.service.app import create_app
from diml.service.logs import log_config
from diml.service.settings import ServiceSettings

# Requests in flight at a stop have so long to finish.
GRACE = 8
# Heaps that all threads share, and the number of this option in malloc.h.
ARENAS, M_ARENA_MAX = 2, -8


class Server(uvicorn.Server):
    """A server that ends with exit code 0 after SIGTERM or Ctrl-C: requests in flight finish, no others are taken."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._stopping = ready, stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.handle_exit, each, None)
        yield


def serve(settings: ServiceSettings, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve until the process is told to stop.

    Args:
        settings: what is served.
        ready: called with the address once the service listens.

    Raises:
        UsageError: settings that cannot be used, or an address that is taken.
    """
    _share_memory()
    app = create_app(settings)
    listening = _listening(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    config: dict[str, Any] = {
        "log_config": log_config(),
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": GRACE,
        "timeout_keep_alive": 30,
        "h11_max_incomplete_event_size": 64 << 10,
    }
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    server = Server(uvicorn.Config(app, **config), lambda: ready(url), app.state.jobs.close)
    asyncio.run(server.serve([listening]))
    _leave()


def _share_memory() -> None:
    """Let threads share what they free.

    The GNU C library gives every thread a heap of its own, up to eight for each core, and the database starts up to
    some hundred threads: what one of them freed would not be used by the others, and the process would grow for long.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def _leave() -> None:
    """End the process although a thread still computes, for a request that was given up, or the first compiling.

    Such a thread cannot be stopped, and what it writes is safe at any moment.
    """
    end = time.monotonic() + 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot listen on {host}, port {port} ({reason}); give another --host or --port") from error
    return listening
