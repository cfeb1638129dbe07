"""From the bytes of a request to what is asked: parsed, checked against the catalog, keyed.

Requests repeat byte for byte, so what was understood is remembered under the digest of the body: a repetition
costs one SHA-256. The memory is bounded and holds no request, only where its answer would be.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec

from cacheproxy.cache.answer import KeptQuality, StoredAnswer
from cacheproxy.cache.epochs import Era, Tagged
from cacheproxy.cache.key import answer_key
from cacheproxy.cache.tiers import expiry_ms
from cacheproxy.gateway.admission import Caller, Door
from cacheproxy.gateway.call import Call, Header
from cacheproxy.gateway.catalog.catalog import Access, Model, Pool
from cacheproxy.gateway.catalog.tariff import Tariff
from cacheproxy.gateway.controls import PLAIN, Controls, controls_of, has_controls, merge, without_controls
from cacheproxy.gateway.errors import BadRequest
from cacheproxy.policy import CachePolicy
from cacheproxy.protocols.request import Answer, Batch, Dialect, Incoming, InferenceRequest, InvalidRequest
from cacheproxy.rules import Rules
from metering.tokens import TokenPools

MAX_REMEMBERED = 16_384
CONTROLLED_BODIES = frozenset({"openai", "anthropic"})
"""Protocols whose bodies may have LiteLLM's `cache` object: in all others every field is the model's."""


class Facts(NamedTuple):
    """What is remembered of a body."""

    model: Model
    rules: Rules
    """How its answer is cached: the model's rules, or those of the task that it is."""
    key: bytes | None
    """Where the answer is kept; None where it may not be."""
    flight: bytes | None
    """The name under which identical calls make one upstream call: the key, and in a pool whose calls they are.

    A follower of another tenant's call would know that it is being made.
    """
    as_kept: bool
    """Whether a stored answer can be given as it is."""
    shares: bool
    """Whether it may wait for another's answer, and others for its own."""
    output_limit: int | None
    """The tokens of output that it asks for at most, where it says so."""
    era: Era
    """Once it is over, the answer is kept elsewhere."""
    controls: Controls = PLAIN
    """What the body itself says about the cache, as LiteLLM's clients do."""
    pool: Pool | None = None
    """Whose members share the answer; None where it is the tenant's alone."""
    pads: bool = False
    """Whether a hit may have to be held back."""


class Ask(NamedTuple):
    """One call, understood."""

    call: Call
    caller: Caller
    controls: Controls
    body: bytes
    facts: Facts
    tariff: Tariff
    parsed: InferenceRequest | None
    """The body as just parsed; None where it was remembered instead."""

    @property
    def dialect(self) -> Dialect:
        """Return what the call speaks."""
        return self.call.route.dialect

    @property
    def may_read(self) -> bool:
        """Whether a stored answer may be given."""
        return self.facts.key is not None and not (self.controls.no_cache or self.controls.no_store)

    @property
    def may_store(self) -> bool:
        """Whether the answer may be kept."""
        return self.facts.key is not None and not self.controls.no_store

    @property
    def may_share(self) -> bool:
        """Whether the call may wait for another's answer, and others for its own."""
        return self.may_read and self.facts.shares

    def is_young_enough(self, stored: StoredAnswer, now_ms: int) -> bool:
        """Return whether the client takes an answer of this age, and none of its tags was invalidated since."""
        if stored.paid_by and self.controls.only_if_cached and self.is_anothers(stored):
            return False  # or a client could ask every second, and leave nothing of its own behind
        if self.controls is not PLAIN and not _is_within(self.controls, stored, now_ms):
            return False
        return not self.has_ended(stored)

    def has_ended(self, stored: StoredAnswer) -> bool:
        """Return whether one of the tags of an answer was invalidated since it was asked for."""
        return stored.tagged is not None and self.facts.era.ends(stored.tagged)

    def is_anothers(self, stored: StoredAnswer) -> bool:
        """Return whether another tenant of the pool paid for an answer."""
        return stored.paid_by not in (0, self.caller.access.tenant_id)

    def flight_of(self, key: bytes) -> bytes:
        """Return the name of the flight of an item that is kept under *key*."""
        return _flight(key, self.facts.pool, self.caller.access)

    @property
    def stale_seconds(self) -> int:
        """How long after its end a stored answer may be given at once: as the client says, else as the policy does.

        Who states an age without it wants nothing stale (RFC 9111, section 5.2.1.1).
        """
        stated = self.controls.max_stale_seconds
        if stated is not None:
            return stated
        if self.controls.limits_age or not self.facts.shares:
            return 0
        return self.facts.rules.policy.stale_while_revalidate_seconds

    @property
    def stale_if_error_seconds(self) -> int:
        """How long after its end a stored answer may stand in for a failure."""
        stated = self.controls.stale_if_error_seconds
        return self.facts.rules.policy.stale_if_error_seconds if stated is None else stated

    @property
    def key_headers(self) -> Sequence[Header]:
        """Return the header that names the answer's key, where the client wants to see it."""
        if not self.controls.show_key or self.facts.key is None:
            return ()
        return ((b"x-zerorate-key", self.facts.key),)

    @property
    def outcome(self) -> Literal["miss", "bypass"]:
        """Return the call's outcome where the upstream has to be asked."""
        return "miss" if self.may_read else "bypass"

    def batch(self, request: InferenceRequest) -> Batch | None:
        """Return the request as a batch whose items are kept one by one, or None."""
        policy = self.facts.rules.policy
        if self.facts.key is None or not policy.batches or self.facts.pads:
            return None  # where hits are held back, a list of which a part is there must not be quicker
        return self.dialect.batch(request, policy.batch)

    def key_of(self, item: InferenceRequest) -> bytes:
        """Return the key of one item of this batch: the one that it has when it is asked for alone."""
        return self.facts.era.key(self.name_of(item))

    def name_of(self, request: InferenceRequest) -> bytes:
        """Return the key of this request, or one very like it, as it was before any key was invalidated by itself."""
        facts = self.facts
        access = self.caller.access
        name = _name(
            facts.model, facts.rules, self.dialect, request, access, self.controls, facts.era, facts.pool
        )
        assert name is not None, "what is like a request that may be kept may be kept"
        return name

    @property
    def scope(self) -> bytes:
        """Return among whose calls the answer is shared."""
        scope = _scope(self.facts.rules.policy, self.caller.access, self.controls)
        assert scope is not None, "a call with a key has a scope"
        return scope

    def unkept(self) -> "Ask":
        """Return the call as one that neither reads nor writes the cache, as if its client had said `no-store`."""
        return self._replace(controls=self.controls._replace(no_store=True))

    def stored(
        self,
        answer: Answer,
        pools: TokenPools,
        *,
        units: int,
        quality: KeptQuality,
        output_reasoning: int = 0,
        took_us: int = 0,
    ) -> StoredAnswer:
        """Return an answer that was computed for this call as it is to be kept, under the model's policy."""
        now_ms, policy = time.time_ns() // 1_000_000, self.facts.rules.policy
        ttl_seconds = min(policy.ttl_seconds, self.controls.ttl_seconds or policy.ttl_seconds)
        expires_at_ms = expiry_ms(now_ms, ttl_seconds, policy.ttl_jitter)
        return StoredAnswer(
            body=answer.body,
            headers=answer.headers,
            source_event=self.call.event_id,
            stored_at_ms=now_ms,
            expires_at_ms=expires_at_ms,
            stale_until_ms=expires_at_ms + 1000 * policy.kept_stale_seconds,
            pools=pools,
            output_reasoning=output_reasoning,
            units=units,
            quality=quality,
            took_us=took_us,
            tagged=self._tagged,
            paid_by=0 if self.facts.pool is None else self.caller.access.tenant_id,
        )

    @property
    def _tagged(self) -> Tagged | None:
        if not self.controls.tags:
            return None
        return Tagged(self.facts.era.owner, self.facts.era.began, self.controls.tags)

    def request(self) -> InferenceRequest:
        """Return the parsed body, which is not kept between calls."""
        return self.parsed or _stated_in(self.call, parse(self.call, self.body))[1]


class Understanding:
    """Understands bodies, and remembers the latest."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._remembered: OrderedDict[tuple[object, ...], Facts] = OrderedDict()

    def ask(self, call: Call, caller: Caller, controls: Controls, body: bytes) -> Ask:
        """Return what the call asks.

        Raises:
            BadRequest: the body is not a request of the path's protocol.
            ModelNotFound, ModelNotInPlan: the model is not to be had.
        """
        access = caller.access
        said = tuple([call.headers.get(header) for header in call.route.dialect.read_headers])
        digest = sha256(body).digest()
        sharing = access.sharing if controls is PLAIN or not controls.dates else access.cache_secret
        scope = (access.api_key_id, sharing, controls.session, controls.namespace, controls.tags)
        name = (scope, caller.enable_cache, call.path, said, digest)
        facts, parsed = self._remembered.get(name), None
        if facts is None or facts.era.is_over or not self._door.is_current(facts.model):
            stated, parsed = _stated_in(call, parse(call, body))
            facts = self._read(call, access, merge(controls, stated), stated, parsed)
            if not caller.enable_cache:
                facts = facts._replace(key=None, flight=None)
            self._remember(name, facts)
        tariff = self._door.tariff(caller, facts.model, call.now)
        return Ask(call, caller, merge(controls, facts.controls), body, facts, tariff, parsed)

    def _read(
        self, call: Call, access: Access, controls: Controls, stated: Controls, request: InferenceRequest
    ) -> Facts:
        dialect = call.route.dialect
        model = self._door.model(request.model, dialect.protocol)
        rules = model.rules.of(dialect.visible(request)) if model.rules.tasks else model.rules.base
        pool = _pool(rules.policy, access, controls, dialect, request)
        era = self._door.era(access.tenant_id if pool is None else pool.owner, model, rules.policy.tags)
        name = _name(model, rules, dialect, request, access, controls, era, pool)
        key = None if name is None else era.key(name)
        return Facts(
            model,
            rules,
            key,
            None if key is None else _flight(key, pool, access),
            request.takes_answers_as_kept,
            rules.policy.coalesce and not (request.stream and rules.screen is not None),
            dialect.output_limit(request),
            era,
            stated,
            pool,
            pool is not None and pool.pad_hits,
        )

    def _remember(self, name: tuple[object, ...], facts: Facts) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        self._remembered[name] = facts


def _is_within(controls: Controls, stored: StoredAnswer, now_ms: int) -> bool:
    """Return whether an answer is as young, and will be fresh for as long, as the client wants."""
    max_age_seconds, min_fresh_seconds = controls.max_age_seconds, controls.min_fresh_seconds
    if max_age_seconds is not None and stored.age_seconds(now_ms) > max_age_seconds:
        return False
    return min_fresh_seconds is None or stored.expires_at_ms - now_ms >= 1000 * min_fresh_seconds


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


def _stated_in(call: Call, request: InferenceRequest) -> tuple[Controls, InferenceRequest]:
    """Return the cache controls in the body, and the request without them; a model's own documents have none."""
    if call.route.dialect.protocol not in CONTROLLED_BODIES or not has_controls(request.document):
        return PLAIN, request
    plain = msgspec.structs.replace(request, document=without_controls(request.document))
    return controls_of(request.document), plain


def _pool(
    policy: CachePolicy, access: Access, controls: Controls, dialect: Dialect, request: InferenceRequest
) -> Pool | None:
    """Return the pool that shares the answer; None where it is the tenant's own.

    So are those of a session, of a namespace, and those whose ids a client goes on with; and where a client says
    what age it takes, for by that it could search for the age of another's. A stream that was held back would come
    all at once: it stays private where hits are.
    """
    if policy.pool is None or controls.session or controls.namespace:
        return None
    if controls.dates or dialect.is_addressed(request):
        return None
    pool = access.pool(policy.pool)
    return None if pool is not None and pool.pad_hits and request.stream else pool


def _name(
    model: Model,
    rules: Rules,
    dialect: Dialect,
    request: InferenceRequest,
    access: Access,
    controls: Controls,
    era: Era,
    pool: Pool | None,
) -> bytes | None:
    policy = rules.policy
    scope = _scope(policy, access, controls) if pool is None else b"pool:%d/" % pool.id
    if scope is None or not policy.enabled or not dialect.cacheable(request):
        return None
    if rules.chooses and not rules.take(dialect, request):
        return None
    if policy.round_digits is not None:
        request = dialect.rounded(request, policy.round_digits)
    if policy.file_field is not None:
        request = dialect.about_file(request, policy.file_field)
    return answer_key(
        secret=access.cache_secret if pool is None else pool.secret,
        scope=scope + rules.reading + _epoch(era, controls),
        model=model.name,
        version=model.version,
        upstream_digest=model.upstream_digest,
        surface=dialect.surface,
        canonical=dialect.canonical(request, policy.volatile_fields),
    )


def _flight(key: bytes, pool: Pool | None, access: Access) -> bytes:
    return key if pool is None else key + sha256(b"%b@%d" % (key, access.tenant_id)).hexdigest().encode()


def _epoch(era: Era, controls: Controls) -> bytes:
    """Return the part of the scope that every invalidation changes; nothing where there was none."""
    epoch = era.epoch_of(controls.session, controls.tags)
    return b"/epoch:%d" % epoch if epoch else b""


def _scope(policy: CachePolicy, access: Access, controls: Controls) -> bytes | None:
    """Return whose answers these are; None where the policy wants a session and the call names none."""
    if policy.scope == "session" and not controls.session:
        return None
    owner = b"key:%d" % access.api_key_id if policy.scope == "key" else b"tenant:%d" % access.tenant_id
    session, namespace = controls.session, controls.namespace
    return b"%b/%d:%b/%d:%b" % (owner, len(session), session, len(namespace), namespace)
