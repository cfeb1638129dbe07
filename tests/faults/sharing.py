"""Leader and follower: two clients with one question, of whom one leaves, or both; the upstream fails or not."""

from typing import NamedTuple

from tests.faults.matrix import Leaves

MISS, PARTIAL = "miss reported", "miss estimated"
SHARED, SHARED_PARTIAL = "coalesced reported", "coalesced estimated"
STAYS, IN_LINE, IN_ANSWER, IN_STREAM = Leaves.NEVER, Leaves.IN_LINE, Leaves.IN_ANSWER, Leaves.IN_STREAM


class Scene(NamedTuple):
    """What two clients do, and what comes of it. After a failure the upstream answers the next call well."""

    leader_streams: bool
    follower_streams: bool
    fault: str
    leader_leaves: Leaves
    follower_leaves: Leaves
    leader_sees: int
    """The status; 0 where it has left."""
    follower_sees: int
    calls: int
    """How often the upstream was asked."""
    events: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return what tests and prompts call it."""
        kinds = "".join("s" if streams else "p" for streams in self[:2])
        return f"{kinds}-{self.fault}-{self.leader_leaves.name.lower()}-{self.follower_leaves.name.lower()}"


SCENES = (
    Scene(False, False, "well", STAYS, STAYS, 200, 200, 1, (MISS, SHARED)),
    Scene(False, False, "well", IN_LINE, STAYS, 0, 200, 1, (MISS, SHARED)),
    Scene(False, False, "well", STAYS, IN_LINE, 200, 0, 1, (MISS,)),
    Scene(False, False, "well", IN_LINE, IN_LINE, 0, 0, 1, (MISS,)),
    Scene(False, False, "well", IN_ANSWER, STAYS, 0, 200, 1, (MISS, SHARED)),
    Scene(False, False, "well", STAYS, IN_ANSWER, 200, 0, 1, (MISS,)),
    Scene(False, False, "resets", STAYS, STAYS, 502, 200, 2, (MISS,)),
    Scene(False, False, "resets", IN_LINE, STAYS, 0, 200, 2, (MISS,)),
    Scene(False, False, "resets", STAYS, IN_LINE, 502, 0, 1, ()),
    Scene(False, False, "resets", IN_LINE, IN_LINE, 0, 0, 1, ()),
    Scene(False, False, "resets_in_body", STAYS, STAYS, 502, 200, 2, (MISS,)),
    Scene(False, False, "resets_in_body", STAYS, IN_ANSWER, 502, 0, 1, ()),
    Scene(False, False, "400", STAYS, STAYS, 400, 400, 1, ()),
    Scene(False, False, "429", STAYS, STAYS, 429, 200, 2, (MISS,)),
    Scene(False, False, "no_sum", STAYS, STAYS, 200, 200, 2, ("miss suspect", MISS)),
    Scene(True, True, "well", STAYS, STAYS, 200, 200, 1, (MISS, SHARED)),
    Scene(True, True, "well", IN_LINE, STAYS, 0, 200, 1, (MISS, SHARED)),
    Scene(True, True, "well", IN_ANSWER, STAYS, 0, 200, 1, (MISS, SHARED)),
    Scene(True, True, "well", IN_STREAM, STAYS, 0, 200, 1, (MISS, SHARED)),
    Scene(True, True, "well", STAYS, IN_LINE, 200, 0, 1, (MISS,)),
    Scene(True, True, "well", STAYS, IN_ANSWER, 200, 0, 1, (MISS,)),
    Scene(True, True, "well", STAYS, IN_STREAM, 200, 0, 1, (MISS, SHARED)),
    Scene(True, True, "well", IN_STREAM, IN_STREAM, 0, 0, 1, (MISS, SHARED)),
    Scene(True, True, "resets_in_stream", STAYS, STAYS, 200, 200, 1, (PARTIAL, SHARED_PARTIAL)),
    Scene(True, True, "resets_in_stream", IN_STREAM, STAYS, 0, 200, 1, (PARTIAL, SHARED_PARTIAL)),
    Scene(True, True, "resets_in_stream", STAYS, IN_ANSWER, 200, 0, 1, (PARTIAL,)),
    Scene(True, False, "well", STAYS, STAYS, 200, 200, 1, (MISS, SHARED)),
    Scene(True, False, "well", IN_STREAM, STAYS, 0, 200, 1, (MISS, SHARED)),
    Scene(True, False, "well", STAYS, IN_STREAM, 200, 0, 1, (MISS,)),
    Scene(True, False, "resets_in_stream", STAYS, STAYS, 200, 200, 2, (PARTIAL, MISS)),
    Scene(True, False, "resets_in_stream", STAYS, IN_STREAM, 200, 0, 1, (PARTIAL,)),
    Scene(False, True, "well", STAYS, STAYS, 200, 200, 1, (MISS, SHARED)),
    Scene(False, True, "resets", STAYS, STAYS, 502, 200, 2, (MISS,)),
)
