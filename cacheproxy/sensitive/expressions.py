"""Regular expressions that operators write: RE2's, whose time grows with the text and no faster. Plain."""

from typing import Any

import re2

MAX_CHARACTERS = 1000
MAX_PROGRAM_BYTES = 1 << 20
_options = re2.Options()
_options.max_mem = MAX_PROGRAM_BYTES
_options.log_errors = False


class ExpressionError(ValueError):
    """An expression is not valid; the message says why."""


def compiled(expression: str) -> Any:
    """Return the expression, ready to `search` texts.

    Raises:
        ExpressionError: it is too long or too large, no RE2 expression (as one with a look-around or a reference
            back), or matches the empty text.
    """
    if len(expression) > MAX_CHARACTERS:
        raise ExpressionError(f"an expression has at most {MAX_CHARACTERS} characters")
    try:
        pattern = re2.compile(expression, _options)
    except re2.error as problem:
        reason = problem.args[0] if problem.args else b""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ExpressionError(f"{expression!r} is no expression that RE2 takes: {text}") from problem
    if pattern.search("") is not None:
        raise ExpressionError(f"{expression!r} matches the empty text, so it would match everywhere")
    return pattern
