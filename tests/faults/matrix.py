"""The failure matrix: every way in which a client leaves × every way in which an upstream fails × what is away.

The table says what must come of each cell. `test_matrix.py` plays them all; `docs/failure-matrix.md` is rendered
from here by ``python -m tests.faults.document``.
"""

import enum
from collections.abc import Iterator
from typing import NamedTuple


class World(enum.StrEnum):
    """What the gateway has to do without."""

    WELL = "nothing is away"
    NO_POSTGRES = "PostgreSQL is away"
    NO_REDIS = "Redis is away"
    NEITHER = "both are away"


class Leaves(enum.StrEnum):
    """When the client hangs up, in the order of a call."""

    NEVER = "stays"
    IN_HEAD = "leaves in the head of its request"
    IN_BODY = "leaves in the body of its request"
    IN_LINE = "leaves before the upstream's head"
    IN_ANSWER = "leaves before the first of the answer"
    IN_STREAM = "leaves in the middle of the stream"
    BEFORE_END = "leaves after the upstream's end, before ours"


class Reach(enum.IntEnum):
    """How far an upstream gets before it fails."""

    NOTHING = 0
    CALL = 1
    HEAD = 2
    EVENTS = 3
    CLOSING = 4


REACHED_BY = {
    Leaves.NEVER: Reach.NOTHING,
    Leaves.IN_LINE: Reach.CALL,
    Leaves.IN_ANSWER: Reach.HEAD,
    Leaves.IN_STREAM: Reach.EVENTS,
    Leaves.BEFORE_END: Reach.CLOSING,
}


class Outcome(NamedTuple):
    """What a call comes to."""

    status: int
    """What a client that stays sees: the status, and the code of the error, in a body or in a stream's last event."""
    code: str = ""
    event: str = ""
    """Outcome and quality of the one event; "" for none."""
    kept: bool = False


class Fault(NamedTuple):
    """One way in which an upstream fails, or does not."""

    name: str
    words: str
    reach: Reach
    plain: Outcome | None
    """To a plain call; None where the fault is one of streams."""
    streamed: Outcome | None
    """To a call for a stream."""
    control: str = ""
    """The call's Cache-Control."""


GIVEN = Outcome(200, event="miss reported", kept=True)
UNREACHABLE = Outcome(502, "upstream_unreachable")
BROKEN = Outcome(502, "upstream_broken")
LATE = Outcome(504, "upstream_timeout")
BROKEN_OFF = Outcome(200, "upstream_broken", "miss estimated")


def _both(outcome: Outcome) -> tuple[Outcome, Outcome]:
    return outcome, outcome


FAULTS = (
    Fault("refuses", "refuses the connection", Reach.NOTHING, *_both(UNREACHABLE)),
    Fault("resets", "resets before its head", Reach.CALL, *_both(UNREACHABLE)),
    Fault("stalls", "is silent for longer than its first byte may take", Reach.CALL, *_both(LATE)),
    Fault("429", "answers 429", Reach.HEAD, *_both(Outcome(429, "of_its_own"))),
    Fault("500", "answers 500", Reach.HEAD, *_both(Outcome(500, "of_its_own"))),
    Fault("503", "answers 503", Reach.HEAD, *_both(Outcome(503, "of_its_own"))),
    Fault("400", "answers 400", Reach.HEAD, *_both(Outcome(400, "of_its_own"))),
    Fault("401", "refuses the operator's key", Reach.HEAD, *_both(Outcome(502, "upstream_not_configured"))),
    Fault("odd_status", "answers 999", Reach.HEAD, *_both(BROKEN)),
    Fault("html", "answers 200 with HTML", Reach.HEAD, *_both(BROKEN)),
    Fault("error_in_200", "answers 200 with an error", Reach.HEAD, Outcome(200, "of_its_own"), None),
    Fault("resets_in_body", "resets in the middle of a plain body", Reach.HEAD, *_both(BROKEN)),
    Fault("stalls_in_body", "is silent in the middle of a plain body", Reach.HEAD, *_both(LATE)),
    Fault("short", "ends before the length that it stated", Reach.HEAD, *_both(BROKEN)),
    Fault("cut", "states a length that is too short", Reach.HEAD, *_both(BROKEN)),
    Fault("long", "goes on after the length that it stated", Reach.HEAD, *_both(GIVEN)),
    Fault("resets_before_events", "resets before its first event", Reach.HEAD, None, BROKEN),
    Fault("closes_at_once", "sends its closing event and nothing else", Reach.HEAD, None, BROKEN),
    Fault("resets_in_stream", "resets in the middle of a stream", Reach.EVENTS, None, BROKEN_OFF),
    Fault(
        "stalls_in_stream",
        "is silent in the middle of a stream",
        Reach.EVENTS,
        None,
        Outcome(200, "upstream_timeout", "miss estimated"),
    ),
    Fault(
        "ends_unclosed", "ends a stream without its closing event", Reach.EVENTS, None,
        Outcome(200, "upstream_broken", "miss reported"),
    ),
    Fault("errs", "sends an error event and no word", Reach.HEAD, None, Outcome(200, "of_its_own")),
    Fault(
        "errs_in_stream", "sends an error event in the middle of a stream", Reach.CLOSING, None,
        Outcome(200, "of_its_own", "miss estimated"),
    ),
    Fault("no_sum", "reports usage that does not sum", Reach.CLOSING, *_both(Outcome(200, event="miss suspect"))),
    Fault(
        "no_usage", "reports no usage", Reach.CLOSING, *_both(Outcome(200, event="miss estimated", kept=True))
    ),
    Fault("unstreamed", "answers a call for a stream at once", Reach.HEAD, None, GIVEN),
    Fault("well", "answers well", Reach.CLOSING, *_both(GIVEN)),
    Fault(
        "no_cache", "answers well, to `no-cache`", Reach.CLOSING,
        *_both(Outcome(200, event="bypass reported", kept=True)), control="no-cache",
    ),
    Fault(
        "no_store", "answers well, to `no-store`", Reach.CLOSING,
        *_both(Outcome(200, event="bypass reported")), control="no-store",
    ),
)  # fmt: skip


def fault(name: str) -> Fault:
    """Return the fault of this name."""
    return next(fault for fault in FAULTS if fault.name == name)


class Cell(NamedTuple):
    """One combination."""

    streamed: bool
    fault: Fault
    leaves: Leaves

    @property
    def name(self) -> str:
        """Return what tests and prompts call it."""
        return f"{'stream' if self.streamed else 'plain'}-{self.fault.name}-{self.leaves.name.lower()}"

    def outcome(self, world: World) -> Outcome:
        """Return what must come of it."""
        if self.leaves in {Leaves.IN_HEAD, Leaves.IN_BODY}:
            return Outcome(0)  # nobody was asked for anything
        outcome = self.fault.streamed if self.streamed else self.fault.plain
        assert outcome is not None
        if world is World.NEITHER and outcome.event:
            begun = self.streamed and self.fault.reach >= Reach.EVENTS
            return Outcome(200 if begun else 503, "recorder_unavailable")
        return outcome


def cells(world: World) -> Iterator[Cell]:
    """Yield every cell that can be in *world*."""
    for streamed in (False, True):
        for fault in FAULTS:
            if (fault.streamed if streamed else fault.plain) is not None:
                each = (Cell(streamed, fault, leaves) for leaves in Leaves)
                yield from (cell for cell in each if _is_possible(cell) and _is_possible_in(world, cell))


def _is_possible(cell: Cell) -> bool:
    """Return whether a client can leave at that moment: the upstream must get as far."""
    streamed, fault, leaves = cell
    if leaves in {Leaves.IN_HEAD, Leaves.IN_BODY}:
        return fault.name == "well"  # the upstream is never asked, so how it fails is of no account
    if leaves in {Leaves.IN_STREAM, Leaves.BEFORE_END} and not streamed:
        return False
    return REACHED_BY[leaves] <= fault.reach


def _is_possible_in(world: World, cell: Cell) -> bool:
    """Return whether the cell exists there: where nothing can record, nothing is waited for before our end."""
    return not (world is World.NEITHER and cell.leaves is Leaves.BEFORE_END)
