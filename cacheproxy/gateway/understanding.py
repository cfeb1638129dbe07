"""From the bytes of a request to what is asked: parsed, checked against the catalog, keyed.

Requests repeat byte for byte, so what was understood is remembered under the digest of the body: a repetition
costs one SHA-256. The memory is bounded and holds no request, only where its answer would be.
"""

from hashlib import sha256
from typing import NamedTuple

from cacheproxy.cache.key import answer_key
from cacheproxy.gateway.admission import Caller, Door
from cacheproxy.gateway.call import Call
from cacheproxy.gateway.catalog import Access, Model
from cacheproxy.gateway.controls import Controls
from cacheproxy.gateway.errors import BadRequest
from cacheproxy.gateway.tariff import Tariff
from cacheproxy.protocols.request import Dialect, Incoming, InferenceRequest, InvalidRequest

MAX_REMEMBERED = 16_384


class Facts(NamedTuple):
    """What is remembered of a body."""

    model: Model
    key: bytes | None
    """Where the answer is kept; None where it may not be."""
    as_kept: bool
    """Whether a stored answer can be given as it is."""
    output_limit: int | None
    """The tokens of output that it asks for at most, where it says so."""


class Ask(NamedTuple):
    """One call, understood."""

    call: Call
    caller: Caller
    controls: Controls
    body: bytes
    facts: Facts
    tariff: Tariff

    @property
    def dialect(self) -> Dialect:
        """Return what the call speaks."""
        return self.call.route.dialect

    @property
    def may_read(self) -> bool:
        """Whether a stored answer may be given."""
        return self.facts.key is not None and self.controls.may_read

    @property
    def may_store(self) -> bool:
        """Whether the answer may be kept."""
        return self.facts.key is not None and not self.controls.no_store

    def request(self) -> InferenceRequest:
        """Return the parsed body, which is not kept between calls."""
        return parse(self.call, self.body)


class Understanding:
    """Understands bodies, and remembers the latest."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._remembered: dict[tuple[object, ...], Facts] = {}

    def ask(self, call: Call, caller: Caller, controls: Controls, body: bytes) -> Ask:
        """Return what the call asks.

        Raises:
            BadRequest: the body is not a request of the path's protocol.
            ModelNotFound, ModelNotInPlan: the model is not to be had.
        """
        access = caller.access
        name = (access.api_key_id, access.cache_secret, controls.session, call.path, sha256(body).digest())
        facts = self._remembered.get(name)
        if facts is None or not self._door.is_current(facts.model):
            facts = self._read(call, access, controls, body)
            self._remember(name, facts)
        return Ask(call, caller, controls, body, facts, self._door.tariff(caller, facts.model, call.now))

    def _read(self, call: Call, access: Access, controls: Controls, body: bytes) -> Facts:
        request, dialect = parse(call, body), call.route.dialect
        model = self._door.model(request.model, dialect.protocol)
        return Facts(
            model,
            _key(model, dialect, request, access, controls),
            request.takes_answers_as_kept,
            dialect.output_limit(request),
        )

    def _remember(self, name: tuple[object, ...], facts: Facts) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[name] = facts


def parse(call: Call, body: bytes) -> InferenceRequest:
    """Return the parsed body.

    Raises:
        BadRequest: it is not a request of the path's protocol.
    """
    try:
        dialect, model, version = call.route
        return dialect.parse(Incoming(body, call.headers, model, version))
    except InvalidRequest as problem:
        raise BadRequest(problem.message, code=problem.code, param=problem.param) from problem


def _key(
    model: Model, dialect: Dialect, request: InferenceRequest, access: Access, controls: Controls
) -> bytes | None:
    scope = _scope(model, access, controls)
    if scope is None or not model.cache.enabled or not dialect.cacheable(request):
        return None
    return answer_key(
        secret=access.cache_secret,
        scope=scope,
        model=model.name,
        version=model.version,
        upstream_digest=model.upstream_digest,
        surface=dialect.surface,
        canonical=dialect.canonical(request, model.cache.volatile_fields),
    )


def _scope(model: Model, access: Access, controls: Controls) -> bytes | None:
    """Return whose answers these are; None where the policy wants a session and the call names none."""
    if model.cache.scope == "session" and not controls.session:
        return None
    owner = b"key:%d" % access.api_key_id if model.cache.scope == "key" else b"tenant:%d" % access.tenant_id
    return owner + b"/session:" + controls.session
