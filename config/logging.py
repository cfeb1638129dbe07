"""The log: one JSON object a line, for the gateway, Django, Celery and uvicorn alike. Loads no Django.

A line has ``time``, ``level``, ``logger`` and ``message``; on a call's way also its ``request_id`` and, once it is
known, the ``tenant``. Prompts, answers and API keys are never in it: of an exception that ends a call only its
type and place are written, because its text may quote what it choked on.
"""

import logging
import logging.config
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.telemetry.current import current_call

FACTS = ("key", "model", "surface", "outcome", "status", "latency_us")
"""What a line about a call may say besides; nothing else that a record carries is written."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonLines(logging.Formatter):
    """Writes a record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one JSON object."""
        call = current_call.get()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call is not None:
            line |= _about(call)
        line |= {name: record.__dict__[name] for name in FACTS if name in record.__dict__}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = (
                "".join(_places(record.exc_info[1]))
                if call is not None
                else self.formatException(record.exc_info)
            )
        return _encode(line).decode()


def logging_settings(level: str) -> dict[str, Any]:
    """Return the settings of Python's logging: everything through one handler, uvicorn's lines too."""
    through_root = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "python_multipart": {"level": "ERROR"},  # it warns of every form that a client breaks
            "uvicorn": through_root,
            "uvicorn.error": through_root,
            "uvicorn.access": {
                "handlers": [],
                "propagate": False,
            },  # what a call came to is the gateway's to say
        },
    }


def configure(level: str) -> None:
    """Set Python's logging up, in a process that Django does not."""
    logging.config.dictConfig(logging_settings(level))


def _about(call: Call) -> dict[str, str]:
    about = {"request_id": call.request_id.decode()}
    if call.ask is not None:
        about["tenant"] = call.ask.caller.access.tenant_slug
    return about


def _places(failure: BaseException) -> Iterator[str]:
    """Yield where *failure* and those behind it were raised, without their texts."""
    behind = failure.__cause__ or (None if failure.__suppress_context__ else failure.__context__)
    if behind is not None:
        yield from _places(behind)
        yield "\nwhich led to:\n"
    yield from traceback.format_tb(failure.__traceback__)
    yield f"{type(failure).__module__}.{type(failure).__qualname__}"
