"""Where a model's next call goes: lanes to its targets, those of the lowest priority first, in turn by weight."""

import math
from collections.abc import Iterable, Sequence

from cacheproxy.gateway.catalog.catalog import Model, Target
from cacheproxy.gateway.errors import GatewayError, Overloaded
from cacheproxy.gateway.upstreams.address import Address
from cacheproxy.gateway.upstreams.breaker import Breaker
from cacheproxy.gateway.upstreams.errors import UpstreamNotConfigured, UpstreamUnavailable


class Server:
    """One upstream, shared by all models on it: its breaker, and the calls under way."""

    __slots__ = ("breaker", "max_calls", "under_way")

    def __init__(self, breaker: Breaker, max_calls: int) -> None:
        self.breaker = breaker
        self.max_calls = max_calls
        self.under_way = 0


class Lane:
    """The way to one target. ``cool_until`` is when its upstream wants to be asked again; ``credit`` is its due."""

    __slots__ = ("address", "cool_until", "credit", "server", "target")

    def __init__(self, target: Target, server: Server) -> None:
        self.target = target
        self.address = Address(target)
        self.server = server
        self.credit = 0
        self.cool_until = -math.inf

    @property
    def configured(self) -> bool:
        """Whether the key that its upstream needs is there."""
        return self.target.secret is not None or not self.target.api_key_env

    def admits(self, now: float) -> bool:
        """Return whether a call may begin at *now*."""
        server = self.server
        return server.under_way < server.max_calls and server.breaker.admits(now) and self.configured


class Route:
    """The lanes of one model."""

    def __init__(self, model: Model, lanes: Iterable[Lane]) -> None:
        self.model = model
        self.lanes = tuple(lanes)
        priorities = sorted({lane.target.priority for lane in self.lanes})
        self._tiers = [[lane for lane in self.lanes if lane.target.priority == each] for each in priorities]

    def choose(self, now: float, tried: Sequence[Lane] = ()) -> Lane | None:
        """Return the lane that is due, leaving out those *tried*; None where no other admits a call.

        A lane that was asked to wait is taken only when there is nothing else: its upstream is the one to refuse.
        """
        cooling: list[Lane] = []
        for tier in self._tiers:
            open_lanes = [lane for lane in tier if lane.admits(now) and lane not in tried]
            ready = [lane for lane in open_lanes if lane.cool_until <= now]
            if ready:
                return _due(ready)
            cooling += open_lanes
        return min(cooling, key=lambda lane: lane.cool_until, default=None)

    def refusal(self, now: float) -> GatewayError:
        """Return why no lane admits a call."""
        configured = [lane for lane in self.lanes if lane.configured]
        if not configured:
            return UpstreamNotConfigured()
        if any(lane.server.breaker.admits(now) for lane in configured):
            return Overloaded()
        return UpstreamUnavailable(min(lane.server.breaker.wait_seconds(now) for lane in configured))


def _due(lanes: list[Lane]) -> Lane:
    """Return the lane whose turn it is: smooth weighted round robin, as nginx has it.

    Everyone earns its weight at every call and the richest pays for all, so that turns are spread evenly: weights
    of 3 and 1 give a a b a.
    """
    if len(lanes) == 1:
        return lanes[0]
    for lane in lanes:
        lane.credit += lane.target.weight
    due = max(lanes, key=lambda lane: lane.credit)
    due.credit -= sum(lane.target.weight for lane in lanes)
    return due
