"""Usage events, their hourly sums, and how far the summing has come."""

from django.db import models
from django.db.models.functions import Cast, Now


class Outcome(models.TextChoices):
    """How a call was answered."""

    MISS = "miss", "miss"
    EXACT = "exact", "exact hit"
    SEMANTIC = "semantic", "semantic hit"
    COALESCED = "coalesced", "coalesced"
    BYPASS = "bypass", "bypass"


HIT_OUTCOMES = (Outcome.EXACT, Outcome.SEMANTIC, Outcome.COALESCED)


class Quality(models.TextChoices):
    """How far the counts of an event can be trusted."""

    REPORTED = "reported", "reported by the upstream"
    ESTIMATED = "estimated", "estimated"
    SUSPECT = "suspect", "quarantined"


class Counts(models.Model):
    """What was served: the five disjoint token pools, the reasoning part of the output, and units."""

    input = models.BigIntegerField(default=0)
    cache_read = models.BigIntegerField(default=0)
    cache_write = models.BigIntegerField(default=0)
    cache_write_1h = models.BigIntegerField(default=0)
    output = models.BigIntegerField(default=0)
    output_reasoning = models.BigIntegerField(default=0)
    units = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class UsageEvent(Counts):
    """One call as it was served: a fact, written once, by the gateway's COPY or by ingestion.

    The table is partitioned by range of the UUIDv7 ``event_id`` and made by hand in the migration,
    with its constraints and a trigger that refuses to change or delete a row (law L3).
    """

    pk = models.CompositePrimaryKey("tenant_id", "event_id")
    event_id = models.UUIDField()
    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    api_key = models.ForeignKey(
        "tenants.ApiKey",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    request_id = models.UUIDField()
    model = models.TextField()
    model_version = models.TextField()
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    quality = models.CharField(max_length=9, choices=Quality.choices, default=Quality.REPORTED)
    source_event = models.UUIDField(null=True)
    similarity = models.FloatField(null=True)
    latency_us = models.BigIntegerField()
    upstream_latency_us = models.BigIntegerField(null=True)
    status = models.SmallIntegerField()
    payload_digest = models.BinaryField()
    raw_usage = models.JSONField(null=True)
    xact_id = models.BigIntegerField(db_default=0, editable=False, help_text="The transaction that wrote it.")

    class Meta:
        managed = False
        db_table = "metering_usageevent"

    def __str__(self) -> str:
        return f"{self.event_id} ({self.outcome})"


class UsageConflict(models.Model):
    """An event refused because its id was taken by an event with another payload (law L2)."""

    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    event_id = models.UUIDField()
    recorded_digest = models.BinaryField()
    refused_digest = models.BinaryField()
    refused = models.JSONField(help_text="The whole refused event.")
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-seen_at"]

    def __str__(self) -> str:
        return str(self.event_id)


class WrongHit(models.Model):
    """A semantic hit that was proven wrong: its upstream, really asked, answered something else.

    Written once, by the gateway's INSERT; a trigger refuses to change or delete a row (as law L3 of events).
    """

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="wrong_hits")
    event_id = models.UUIDField(help_text="The hit's usage event.")
    occurred_at = models.DateTimeField(help_text="When the hit was served.")
    model = models.TextField()
    source_event = models.UUIDField(help_text="The miss that had paid for the answer.")
    similarity = models.FloatField()
    score = models.FloatField(help_text="What the verifier thought of the pair, 0 to 1.")
    reason = models.TextField(help_text="Why it is wrong, in words that may stand on an invoice.")
    detected_at = models.DateTimeField(db_default=Now())
    xact_id = models.BigIntegerField(
        db_default=Cast(
            Cast(models.Func(function="pg_current_xact_id"), models.TextField()), models.BigIntegerField()
        ),
        editable=False,
        help_text="The transaction that wrote it.",
    )

    class Meta:
        verbose_name = "wrong hit"
        ordering = ["-detected_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "event_id"], name="wrong_hit_once"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="wrong_hit_has_reason"),
        ]

    def __str__(self) -> str:
        return str(self.event_id)


class UsageRollup(Counts):
    """The sum of one hour's events of a tenant, key, model, version, outcome and quality.

    As events, it refers to tenants and keys without a constraint: one odd event must not stop every roll-up.
    """

    tenant = models.ForeignKey(
        "tenants.Tenant",
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="usage_rollups",
    )
    api_key = models.ForeignKey(
        "tenants.ApiKey",
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        db_index=False,
        related_name="usage_rollups",
    )
    hour = models.DateTimeField(help_text="Start of the hour, UTC.")
    model = models.TextField()
    model_version = models.TextField()
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    quality = models.CharField(max_length=9, choices=Quality.choices)
    calls = models.BigIntegerField()
    watermark = models.BigIntegerField(help_text="One above the youngest transaction counted here.")

    class Meta:
        ordering = ["tenant", "hour"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "hour", "model", "model_version", "outcome", "quality", "api_key"],
                name="usage_rollup_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.model} {self.outcome}"


class RollupProgress(models.Model):
    """How far the roll-up has come: every event of a transaction below ``watermark`` is counted.

    One row. Transaction ids mean something on one cluster only, so the row names its cluster.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    watermark = models.BigIntegerField(default=0)
    system_identifier = models.BigIntegerField(null=True)
    rolled_up_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="rollup_progress_one_row"),
        ]

    def __str__(self) -> str:
        return f"rolled up below {self.watermark}"
