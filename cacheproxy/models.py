"""The catalog's technical half: upstreams, models and which serves which; and what is on record of the cache."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from cacheproxy.policy import POOL_NAME
from tenants.models import Tenant, new_cache_secret

MAX_SECONDS = 86_400


def seconds(default: int | None, help_text: str = "") -> Any:
    """Return a field for a time limit in whole seconds, of a day at most; null where it has no *default*."""
    within = [MinValueValidator(1), MaxValueValidator(MAX_SECONDS)]
    absent = default is None
    return models.IntegerField(
        default=default, null=absent, blank=absent, validators=within, help_text=help_text
    )


def within(field: str, low: int, high: int) -> models.Q:
    """Return the condition that *field* is in [*low*, *high*]."""
    return models.Q(**{f"{field}__gte": low, f"{field}__lte": high})


class Upstream(models.Model):
    """A model server, the protocol it speaks, and how long it is waited for."""

    class Protocol(models.TextChoices):
        OPENAI = "openai", "OpenAI"
        ANTHROPIC = "anthropic", "Anthropic"
        PREDICT = "predict", "predict (JSON in, JSON out)"
        OIP = "oip", "Open Inference Protocol v2"

    name = models.SlugField(max_length=63, unique=True)
    protocol = models.CharField(max_length=9, choices=Protocol.choices)
    url = models.CharField(
        max_length=500,
        help_text="What that protocol's client takes as its base URL; for predict the full URL.",
    )
    api_key_env = models.CharField(
        max_length=100,
        blank=True,
        default="",
        help_text="The gateway's environment variable that holds its key.",
    )
    timeout_seconds = seconds(120, "For the whole answer, streams included.")
    connect_timeout_seconds = seconds(5, "For a connection, TLS included.")
    first_byte_timeout_seconds = seconds(None, "For the beginning of the answer; empty: as for the whole.")
    idle_timeout_seconds = seconds(60, "Between two parts of an answer.")
    breaker_failures = models.IntegerField(
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="Failures in a row after which it is left alone for a while.",
    )
    breaker_open_seconds = seconds(10, "How long it is left alone before one call tries it again.")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(protocol__in=["openai", "anthropic", "predict", "oip"]),
                name="upstream_protocol_known",
            ),
            models.CheckConstraint(condition=models.Q(url__regex="^https?://"), name="upstream_url_http"),
            *(
                models.CheckConstraint(condition=within(field, 1, MAX_SECONDS), name=f"upstream_{name}")
                for field, name in (
                    ("timeout_seconds", "timeout_in_bounds"),
                    ("connect_timeout_seconds", "connect_timeout_in_bounds"),
                    ("first_byte_timeout_seconds", "first_byte_timeout_in_bounds"),
                    ("idle_timeout_seconds", "idle_timeout_in_bounds"),
                    ("breaker_open_seconds", "breaker_open_in_bounds"),
                )
            ),
            models.CheckConstraint(
                condition=within("breaker_failures", 1, 1000), name="upstream_breaker_failures_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return self.name


def no_policy() -> dict[str, Any]:
    """Return the policy of a model that states none."""
    return {}


class ServedModel(models.Model):
    """What customers name in ``model``: how it is cached, metered and retried. Targets say where it is served."""

    class Retry(models.TextChoices):
        SAFE = "safe", "only what no upstream can have worked on"
        ANY = "any", "timeouts and failures of the upstream, too"

    name = models.CharField(max_length=200, unique=True)
    version = models.CharField(
        max_length=100, default="1", help_text="In the cache key: a new version never serves an old answer."
    )
    retry = models.CharField(
        max_length=4, choices=Retry.choices, default=Retry.SAFE, help_text="What is asked for a second time."
    )
    cache = models.JSONField(default=no_policy, blank=True)
    metering = models.JSONField(default=no_policy, blank=True)
    enabled = models.BooleanField(default=True)

    class Meta:
        verbose_name = "model"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(retry__in=["safe", "any"]), name="model_retry_known")
        ]

    def __str__(self) -> str:
        return self.name


class Target(models.Model):
    """One place where a model is served. A trigger holds that all targets of a model speak one protocol."""

    model = models.ForeignKey(ServedModel, on_delete=models.CASCADE, related_name="targets")
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="targets")
    upstream_model = models.CharField(
        max_length=200, blank=True, default="", help_text="Its name at the upstream; empty: the same."
    )
    weight = models.IntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="Its share of the calls, beside targets of the same priority.",
    )
    priority = models.IntegerField(
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(1000)],
        help_text="Lower comes first; the next takes over where these are not to be had.",
    )

    class Meta:
        ordering = ["priority", "id"]
        constraints = [
            models.UniqueConstraint(fields=["model", "upstream", "upstream_model"], name="target_once"),
            models.CheckConstraint(condition=within("weight", 1, 1000), name="target_weight_in_bounds"),
            models.CheckConstraint(condition=within("priority", 0, 1000), name="target_priority_in_bounds"),
        ]

    def __str__(self) -> str:
        return f"{self.upstream}/{self.upstream_model or self.model}"


class CacheStatistic(models.Model):
    """How the cache answered a tenant's calls of a model within an hour, as the gateways counted.

    Counts to explain, not to bill: a gateway that is killed loses its last half minute's.
    """

    class Result(models.TextChoices):
        MEMORY = "memory", "memory"
        REDIS = "redis", "Redis"
        SEMANTIC = "semantic", "semantic"
        COALESCED = "coalesced", "coalesced"
        STALE = "stale", "stale"
        BATCH = "batch", "batch"
        NEVER_SEEN = "never_seen", "never seen"
        EXPIRED = "expired", "expired"
        EVICTED = "evicted", "evicted"
        INVALIDATED = "invalidated", "invalidated"
        VERSION = "version", "new version"
        POLICY = "policy", "by policy"
        CLIENT = "client", "by the client"

    hour = models.DateTimeField()
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="cache_statistics")
    model = models.CharField(max_length=200)
    result = models.CharField(max_length=11, choices=Result.choices)
    calls = models.BigIntegerField()
    size_bytes = models.BigIntegerField()
    age_ms = models.BigIntegerField()

    class Meta:
        verbose_name = "cache statistic"
        ordering = ["-hour", "tenant", "model", "result"]
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "tenant", "model", "result"], name="cache_statistic_once_an_hour"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.model}: {self.result} {self.calls}"


class KeptRequest(models.Model):
    """A request of a tenant who lets its content be kept, and how often it was asked: what a warm-up sends again."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="kept_requests")
    digest = models.BinaryField()
    path = models.CharField(max_length=500)
    model = models.CharField(max_length=200)
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    times = models.BigIntegerField()
    first_asked_at = models.DateTimeField()
    last_asked_at = models.DateTimeField()

    class Meta:
        ordering = ["tenant", "-times", "id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "digest"], name="kept_request_once")]
        indexes = [models.Index(fields=["tenant", "last_asked_at"], name="kept_request_by_time")]

    def __str__(self) -> str:
        return f"{self.path} {self.model} ({self.times} times)"


class CachePool(models.Model):
    """What tenants join who share the answers of those models whose policy names it."""

    name = models.CharField(
        max_length=63,
        unique=True,
        validators=[
            RegexValidator(
                rf"{POOL_NAME}\Z", "Small letters, digits, - and _, beginning with one of the first two."
            )
        ],
        help_text="As policies name it, for good.",
    )
    secret = models.BinaryField(default=new_cache_secret, editable=False)
    pad_hits = models.BooleanField(
        "hold hits back",
        default=False,
        db_default=False,
        help_text="Another tenant's answer is given when it would have come from the upstream; streams stay private.",
    )
    made_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "pool"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class CacheInvalidation(models.Model):
    """An end of all answers of the cache that match all that is stated; of every one where nothing is.

    The row is the record of who ended what, and its number the *epoch* that gateways fold into keys. Rows are only
    ever added, one transaction after another (`invalidations.py`), so that numbers become visible in their order.
    What a tenant ends of its own ends in its pools, too: a trigger adds a row for each.
    Where an expression was stated (`matching`), it ends the answers of the `keys` that it was found to match.
    """

    class Via(models.TextChoices):
        ADMIN = "admin"
        API = "api", "API"
        COMMAND = "command"

    epoch = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, null=True, blank=True, related_name="cache_invalidations"
    )
    pool = models.ForeignKey(
        CachePool, on_delete=models.PROTECT, null=True, blank=True, related_name="invalidations"
    )
    model = models.CharField(max_length=200, blank=True, default="")
    version = models.CharField(max_length=100, blank=True, default="")
    session = models.CharField(max_length=256, blank=True, default="")
    tag = models.CharField(max_length=128, blank=True, default="")
    key = models.CharField(max_length=67, blank=True, default="")
    matching = models.CharField(max_length=1000, blank=True, default="", db_default="")
    keys = ArrayField(models.CharField(max_length=67), default=list, db_default=[], editable=False)
    reason = models.CharField(max_length=500, blank=True, default="")
    made_by = models.CharField(max_length=200)
    via = models.CharField(max_length=7, choices=Via.choices)
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "invalidation"
        ordering = ["-epoch"]
        indexes = [models.Index(fields=["tenant", "made_at"], name="invalidation_by_tenant")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(tenant=None) | models.Q(pool=None), name="invalidation_of_tenant_or_pool"
            ),
            models.CheckConstraint(
                condition=models.Q(version="") | ~models.Q(model=""), name="invalidation_version_of_model"
            ),
            models.CheckConstraint(
                condition=models.Q(session="") | models.Q(tenant__isnull=False, tag=""),
                name="invalidation_session_of_tenant",
            ),
            models.CheckConstraint(
                condition=models.Q(key="") | models.Q(model="", version="", session="", tag=""),
                name="invalidation_key_alone",
            ),
            models.CheckConstraint(
                condition=models.Q(matching="", keys=[])
                | models.Q(tenant__isnull=False, version="", session="", tag="", key="")
                & ~models.Q(matching=""),
                name="invalidation_matching_of_tenant",
            ),
            models.CheckConstraint(
                condition=models.Q(via__in=["admin", "api", "command"]), name="invalidation_via_known"
            ),
        ]

    def __str__(self) -> str:
        stated = [
            f"{name} {value}"
            for name in ("tenant", "pool", "model", "version", "session", "tag", "key", "matching")
            if (value := getattr(self, name))
        ]
        if self.matching:
            stated.append(f"{len(self.keys):,} answers")
        return ", ".join(stated) or "everything"


class PoolMembership(models.Model):
    """A tenant's stay in a pool, who agreed to it and who ended it. It stays on record."""

    pool = models.ForeignKey(CachePool, on_delete=models.PROTECT, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="pool_memberships")
    agreed_by = models.CharField(max_length=200, help_text="Who agreed for the tenant.")
    joined_at = models.DateTimeField()
    joined_by = models.CharField(max_length=200)
    joined_via = models.CharField(max_length=7, choices=CacheInvalidation.Via.choices)
    left_at = models.DateTimeField(null=True, blank=True)
    left_by = models.CharField(max_length=200, blank=True, default="")
    left_via = models.CharField(max_length=7, choices=CacheInvalidation.Via.choices, blank=True, default="")

    class Meta:
        ordering = ["pool", "-joined_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pool", "tenant"],
                condition=models.Q(left_at=None),
                name="pool_membership_once_at_a_time",
            ),
            models.CheckConstraint(condition=~models.Q(agreed_by=""), name="pool_membership_agreed"),
            models.CheckConstraint(
                condition=models.Q(left_at=None, left_by="", left_via="")
                | models.Q(left_at__gte=models.F("joined_at"))
                & ~models.Q(left_by="")
                & ~models.Q(left_via=""),
                name="pool_membership_left_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant} in {self.pool}"
