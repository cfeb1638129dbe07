"""What each endpoint takes: a hand-made table of the part of Stripe's API that Zerorate speaks.

`test_shapes.py` holds it against the parameter types of the installed `stripe` library, which are generated
from Stripe's published OpenAPI. A parameter that is not in the table is refused, as Stripe refuses one that
it does not know.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from tests.fakes.stripe.errors import malformed


class Kind(Enum):
    """The plain kinds; lists are written `[kind]`, objects `{name: kind}`, choices as a tuple of strings."""

    TEXT = "text"
    INTEGER = "integer"
    FLAG = "flag"
    METADATA = "metadata"


TEXT, INTEGER, FLAG, METADATA = Kind.TEXT, Kind.INTEGER, Kind.FLAG, Kind.METADATA


class Required:
    """A parameter that must be given."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


LINE: Final = {
    "amount": INTEGER,
    "description": TEXT,
    "discountable": FLAG,
    "metadata": METADATA,
    "period": {"start": Required(INTEGER), "end": Required(INTEGER)},
    "quantity": INTEGER,
}
PAGE: Final = {"limit": INTEGER, "starting_after": TEXT}
STATUSES: Final = ("draft", "open", "paid", "uncollectible", "void")

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "POST /v1/customers": {"name": TEXT, "email": TEXT, "description": TEXT, "metadata": METADATA},
    "GET /v1/customers": {"email": TEXT, **PAGE},
    "GET /v1/customers/{id}": {},
    "POST /v1/invoices": {
        "customer": TEXT,
        "currency": TEXT,
        "auto_advance": FLAG,
        "collection_method": ("charge_automatically", "send_invoice"),
        "days_until_due": INTEGER,
        "description": TEXT,
        "footer": TEXT,
        "metadata": METADATA,
        "number": TEXT,
        "pending_invoice_items_behavior": ("exclude", "include"),
    },
    "GET /v1/invoices": {"customer": TEXT, "status": STATUSES, "created": {"gte": INTEGER}, **PAGE},
    "GET /v1/invoices/{id}": {},
    "GET /v1/invoices/{id}/lines": PAGE,
    "POST /v1/invoices/{id}/add_lines": {"lines": Required([LINE]), "invoice_metadata": METADATA},
    "POST /v1/invoices/{id}/finalize": {"auto_advance": FLAG},
    "POST /v1/invoices/{id}/pay": {"paid_out_of_band": FLAG, "payment_method": TEXT},
    "POST /v1/invoices/{id}/void": {},
    "POST /v1/invoices/{id}/mark_uncollectible": {},
}


def read_params(kind: Any, given: Any, path: str = "") -> Any:
    """Return `given` as typed values of `kind`.

    Raises: RefusedError, with `parameter_unknown`, `parameter_missing`, `parameter_invalid` or the like.
    """
    match kind:
        case Required():
            return read_params(kind.kind, given, path)
        case dict():
            return _read_object(kind, _nested(given, path), path)
        case [item]:
            positions = sorted(_nested(given, path).items(), key=lambda pair: int(pair[0]))
            return [read_params(item, value, f"{path}[{position}]") for position, value in positions]
        case Kind():
            return _READERS[kind](given, path)
    return _read_choice(kind, given, path)


def _read_object(kind: dict[str, Any], given: dict[str, Any], path: str) -> dict[str, Any]:
    def where(name: str) -> str:
        return f"{path}[{name}]" if path else name

    for name in given.keys() - kind.keys():
        raise malformed(
            f"Received unknown parameter: {where(name)}", code="parameter_unknown", param=where(name)
        )
    for name in (name for name, value in kind.items() if isinstance(value, Required) and name not in given):
        raise malformed(
            f"Missing required param: {where(name)}.", code="parameter_missing", param=where(name)
        )
    return {name: read_params(kind[name], value, where(name)) for name, value in given.items()}


def _nested(given: Any, path: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise malformed(f"Invalid {path}: must be nested", code="parameter_invalid", param=path)
    return given


def _read_text(given: Any, path: str) -> str:
    if not isinstance(given, str) or len(given) > 5000:
        raise malformed(f"Invalid string: {path}", code="parameter_invalid_string", param=path)
    return given


def _read_integer(given: Any, path: str) -> int:
    try:
        return int(given)
    except (TypeError, ValueError):
        raise malformed(f"Invalid integer: {given}", code="parameter_invalid_integer", param=path) from None


def _read_flag(given: Any, path: str) -> bool:
    return bool(_read_choice(("false", "true"), given, path) == "true")


def _read_choice(choices: tuple[str, ...], given: Any, path: str) -> str:
    if given not in choices:
        message = f"Invalid {path}: must be one of {', '.join(choices)}"
        raise malformed(message, code="parameter_invalid", param=path)
    return str(given)


def _read_metadata(given: Any, path: str) -> dict[str, str]:
    pairs = {} if given == "" else _nested(given, path)
    if len(pairs) > 50 or any(len(name) > 40 or len(value) > 500 for name, value in pairs.items()):
        message = "Metadata takes 50 keys of 40 characters, with values of 500"
        raise malformed(message, code="parameter_invalid", param=path)
    return pairs


_READERS: Final[dict[Kind, Callable[[Any, str], Any]]] = {
    TEXT: _read_text,
    INTEGER: _read_integer,
    FLAG: _read_flag,
    METADATA: _read_metadata,
}
