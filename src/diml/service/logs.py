"""The log of the service: one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

# The logger of the service; it and those below it write one line for every event.
LOGGER = "diml.service"


class JsonLines(logging.Formatter):
    """Formats an event as one line of JSON: its time (UTC), level, text, and the fields that were given with it.

    Fields are given as `extra={"fields": {...}}`. A line break in a value is escaped, so that an event stays one line.

    >>> record = logging.LogRecord(LOGGER, logging.INFO, "", 0, "request", (), None)
    >>> record.created, record.fields = 0.0, {"status": 200}
    >>> JsonLines().format(record)
    '{"time":"1970-01-01T00:00:00.000Z","level":"info","event":"request","status":200}'
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        event.update(getattr(record, "fields", {}))
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, separators=(",", ":"), default=str)


def log_config(level: str = "info") -> dict[str, Any]:
    """What `logging.config.dictConfig` and uvicorn's `log_config` take.

    The server's own messages become events like ours. Its log of requests is off, because it states their query
    strings; `RequestLog` writes one instead.

    >>> import logging.config
    >>> logging.config.dictConfig(log_config())
    >>> logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)
    False
    """
    logger = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "loggers": {
            LOGGER: logger,
            "uvicorn": logger,
            "uvicorn.error": {"level": level.upper(), "propagate": True},
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }
