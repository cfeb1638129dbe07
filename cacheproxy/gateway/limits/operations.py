"""What is asked of the arbiter, as values, and how it travels."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

FREE, BY_RATE, BY_SLOTS, BY_BUDGET = range(4)

_encode = msgspec.msgpack.Encoder().encode


class RateShare(NamedTuple):
    """What a call takes of a rate: requests or tokens, to be added to its level."""

    key: bytes
    per_minute: int
    cost: int
    is_tokens: bool = False


class SlotShare(NamedTuple):
    """One of so many slots."""

    key: bytes
    at_once: int


class BudgetShare(NamedTuple):
    """What a call reserves of a budget, or was charged, in billionths."""

    key: bytes
    hard_nano: int
    nano: int
    expires_at: int
    """When the counter may be forgotten, in Unix seconds."""


class Operation(NamedTuple):
    """Something to be done to a tenant's counters for one call, whole."""

    kind: Literal["take", "settle", "renew"]
    tenant_id: int
    call_id: str
    rates: tuple[RateShare, ...] = ()
    slots: tuple[SlotShare, ...] = ()
    budgets: tuple[BudgetShare, ...] = ()


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """What the arbiter says of one operation; see the script."""

    refused: int
    index: int = 0
    """Which of the operation's rates, slots or budgets refused."""
    wait_ms: int = 0
    """When to ask again; -1: waiting does not help."""
    levels: list[int] = []
    spent: list[int] = []


_decode = msgspec.msgpack.Decoder(list[Verdict]).decode


def encode(operations: Sequence[Operation]) -> tuple[list[bytes], bytes]:
    """Return the script's keys, and its first argument, which names keys by their place."""
    places: dict[bytes, int] = {}

    def place(key: bytes) -> int:
        return places.setdefault(key, len(places) + 1)

    parts = [
        (
            kind,
            call_id,
            [(place(key), per_minute, cost) for key, per_minute, cost, _ in rates],
            [(place(key), at_once) for key, at_once in slots],
            [
                (place(key), place(key + b":x"), hard_nano, nano, expires_at)
                for key, hard_nano, nano, expires_at in budgets
            ],
        )
        for kind, _, call_id, rates, slots, budgets in operations
    ]
    return list(places), _encode(parts)


def decode(reply: bytes) -> list[Verdict]:
    """Return the script's reply: a verdict for each operation, in order."""
    return _decode(reply)
