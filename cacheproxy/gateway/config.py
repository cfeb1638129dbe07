"""The gateway's settings: one plain struct, filled by whoever starts it."""

import msgspec

from cacheproxy.cache.answer import MAX_ANSWER_BYTES
from cacheproxy.cache.at_rest import COMPRESS_FROM_BYTES, COMPRESSION_LEVEL
from cacheproxy.cache.eviction import PolicyName
from cacheproxy.cache.memory import MAX_ENTRIES

MIB = 1 << 20


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway process is told at its start. Every bound of the data plane is here."""

    database_url: str
    key_pepper: str
    redis_url: str | None = None
    """Without Redis there is no shared cache tier and no outage spool."""
    database_role: str | None = None
    """Taken on with SET ROLE on every connection, so that an event cannot be changed even by our own mistake."""

    max_body_bytes: int = 20 * MIB
    max_answer_bytes: int = 64 * MIB
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For is believed, where a key is bound to networks."""
    assumed_output_tokens: int = 1024
    """The output that a call is taken to use, until it is known, where the call states no maximum."""
    limit_lease_seconds: float = 60.0
    """How long a slot or a reservation outlives a gateway that died, and a charge is sure to count once."""

    max_upstream_calls: int = 512
    """Calls to model servers under way at once; the next one is refused with 503."""
    max_calls_per_upstream: int = 256
    """Of these, to one upstream: one that hangs must not take the others' share."""
    max_background_calls: int = 16
    """Calls to model servers under way at once that no client waits for, as refreshes; 0: none are made."""
    max_upstream_attempts: int = 3
    """Targets that one call asks before it gives up."""
    follow_seconds: float = 60.0
    """How long a call waits for an identical one in another gateway before it asks the upstream itself."""
    shutdown_grace_seconds: float = 30.0

    idempotency_keep_seconds: int = 86_400
    """How long an answer is given again to its Idempotency-Key."""
    idempotency_lease_seconds: float = 5.0
    """How long after the death of a gateway a call under such a key is taken for still under way."""
    idempotency_budget_seconds: float = 0.5
    """The longest that Redis may take to claim such a key, or to keep an answer."""
    max_idempotent_answer_bytes: int = 8 * MIB
    """A larger answer is not kept; its repetition is refused."""

    log_calls: bool = False
    """Whether each call leaves a line in the log."""
    traces: bool = False
    """Whether each call leaves a trace; where to, the environment's ``OTEL_…`` say."""

    max_metric_names: int = 100
    """Models, and upstreams, that metrics tell apart; the rest is counted as ``other``."""
    metrics_dir: str | None = None
    """A local folder in which the processes of one port share their numbers; without it each speaks for itself."""

    statistics_seconds: float = 30.0
    """How often what was counted of the cache is written to PostgreSQL."""

    enable_cache: bool = True
    """Off: every call asks its upstream, and nothing is kept. So may a model, a plan or a key say for itself."""
    memory_cache_bytes: int = 256 * MIB
    memory_cache_entries: int = MAX_ENTRIES
    memory_cache_policy: PolicyName = "w-tinylfu"
    """Who goes when memory is full (docs/cache.md)."""
    max_cached_answer_bytes: int = MAX_ANSWER_BYTES
    """A larger answer is kept in no tier."""
    cache_compress_from_bytes: int = COMPRESS_FROM_BYTES
    cache_compression_level: int = COMPRESSION_LEVEL
    """Of zstd, for answers in Redis."""
    cache_encryption_keys: str = ""
    """``id:base64`` of 32 bytes each, separated by commas: answers in Redis are sealed with the first, all open."""
    redis_budget_seconds: float = 0.02
    """The longest that a look-up or a store in Redis may hold up a call."""
    redis_late_allowed: int = 5
    """Turns of the event loop in a row without a reply in time, after which Redis is left alone for a while."""

    models_dir: str = "var/models"
    """Where the local encoder's graph is kept, which is built once."""
    encoder_threads: int = 2
    """Of the local encoder; a second one takes from the event loop what it gives on machines of two cores."""
    semantic_budget_seconds: float = 0.025
    """The longest that a call waits to learn whether its question was asked in other words."""

    database_timeout_seconds: float = 2.0
    """The longest that one commit, look-up or connection attempt may take before PostgreSQL counts as away."""
    max_batch_events: int = 1000
    max_waiting_events: int = 20_000
    """Events waiting for their commit; the next call is refused with 503."""
    reload_seconds: float = 60.0
    retry_seconds: float = 0.5
    """How often an unreachable PostgreSQL is tried again, and the outage spool looked at."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the connections that clients make, whichever plane they speak to."""

    max_connections: int = 10_000
    """The next one is answered 503 and closed."""
    max_head_bytes: int = 65_536
    max_headers: int = 100
    """More, in number or in bytes, is answered 431."""
    max_pipelined: int = 32
    """Requests that one connection may send ahead of their answers."""
    head_seconds: float = 20.0
    """From a request's first byte to the end of its head; later is answered 408."""
    body_stall_seconds: float = 20.0
    """Between two parts of a body that the application waits for; later is answered 408."""
    body_seconds: float = 600.0
    """For a whole body; later is answered 408."""
    idle_seconds: float = 65.0
    """Between requests. Above the usual 60 of load balancers: they must be the ones to close."""
    write_stall_seconds: float = 60.0
    """How long a client may read nothing of what waits for it, before its connection is dropped."""
    linger_seconds: float = 2.0
    """How long the rest of a refused request is still read, so that its client gets to see the refusal."""
    tick_seconds: float = 1.0
    """How late a time limit may be noticed: each connection has one timer, not one for every limit."""
