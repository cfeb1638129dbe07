"""What is asked with GET: which models there are, and how a model server is. Unmetered, and never cached."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cacheproxy.gateway.admission import Door
from cacheproxy.gateway.call import Call, Header
from cacheproxy.gateway.errors import ModelNotFound
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols import document
from cacheproxy.protocols.anthropic.fields import models_list
from cacheproxy.protocols.anthropic.messages import DIALECT as ANTHROPIC
from cacheproxy.protocols.oip import infer
from cacheproxy.protocols.oip.paths import LIVE, Place, find_place, ready, server_metadata
from cacheproxy.protocols.registry import ELSEWHERE, Route
from cacheproxy.protocols.request import JSON, UpstreamCall

MODELS = "/v1/models"
VERSION = "1"
"""Of what this gateway speaks, as the Open Inference Protocol wants to be told."""


class Lookups:
    """Answers questions about models."""

    def __init__(self, door: Door, upstreams: Upstreams, is_ready: Callable[[], bool]) -> None:
        self._door = door
        self._upstreams = upstreams
        self._is_ready = is_ready

    def knows(self, path: str) -> bool:
        """Return whether *path* is one of those asked with GET."""
        return path == MODELS or path.startswith(f"{MODELS}/") or find_place(path) is not None

    async def serve(self, call: Call) -> None:
        """Answer one call.

        Raises:
            GatewayError: the caller, or the model, is not known, or the model's server fails.
        """
        place = find_place(call.path)
        if place is None:
            await self._models(call)
        elif place.needs_key:
            await self._ask_model(call, place)
        elif place.asked == "ready":
            status, body = ready(is_ready=self._is_ready())
            await _answer(call, status, body)
        else:
            await _answer(call, 200, LIVE if place.asked == "live" else server_metadata(VERSION))

    async def _models(self, call: Call) -> None:
        caller = await self._door.let_in(call.headers, call.now, call.client)
        names = [model.name for model in self._door.models(caller, call.now)]
        wanted = call.path.removeprefix(MODELS).removeprefix("/")
        if wanted and wanted not in names:
            raise ModelNotFound(wanted)
        speaks_anthropic = call.route.dialect is ANTHROPIC
        if wanted:
            listed = models_list([wanted])["data"][0] if speaks_anthropic else _model(wanted)
        elif speaks_anthropic:
            listed = models_list(names)
        else:
            listed = {"object": "list", "data": [_model(name) for name in names]}
        await _answer(call, 200, document.write(listed))

    async def _ask_model(self, call: Call, place: Place) -> None:
        """Pass the question on to the model's own server, and its answer back."""
        caller = await self._door.let_in(call.headers, call.now, call.client)
        model = self._door.model(place.model, infer.DIALECT.protocol)
        self._door.tariff(caller, model, call.now)
        async with self._upstreams.exchange(model, partial(_question, place), None) as exchange:
            answer = await exchange.read()
        await call.answer(answer.status, [*answer.headers], answer.body)


def route_of_lookup(path: str, headers: Mapping[bytes, bytes]) -> Route:
    """Return in whose shape errors at *path* are told, where no metered surface is."""
    if path.startswith("/v2"):
        return Route(infer.DIALECT)
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return Route(ANTHROPIC)
    return ELSEWHERE


def _question(place: Place, upstream_model: str) -> UpstreamCall:
    return UpstreamCall(place.upstream_path(upstream_model), b"", (), "GET")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "zerorate"}


async def _answer(call: Call, status: int, body: bytes) -> None:
    headers: list[Header] = [JSON]
    await call.answer(status, headers, body)
