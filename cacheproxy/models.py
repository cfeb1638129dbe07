"""The catalog's technical half: upstreams, and the models that customers name."""

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models


class Upstream(models.Model):
    """A model server, and the protocol it speaks."""

    class Protocol(models.TextChoices):
        OPENAI = "openai", "OpenAI"
        PREDICT = "predict", "predict (JSON in, JSON out)"

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
    timeout_seconds = models.IntegerField(default=120, validators=[MinValueValidator(1)])

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(protocol__in=["openai", "predict"]), name="upstream_protocol_known"
            ),
            models.CheckConstraint(condition=models.Q(url__regex="^https?://"), name="upstream_url_http"),
            models.CheckConstraint(
                condition=models.Q(timeout_seconds__gt=0), name="upstream_timeout_positive"
            ),
        ]

    def __str__(self) -> str:
        return self.name


def no_policy() -> dict[str, Any]:
    """Return the policy of a model that states none."""
    return {}


class ServedModel(models.Model):
    """What customers name in ``model``: where it is served, and how it is cached and metered."""

    name = models.CharField(max_length=200, unique=True)
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="models")
    upstream_model = models.CharField(
        max_length=200, blank=True, default="", help_text="Its name at the upstream; empty: the same."
    )
    version = models.CharField(
        max_length=100, default="1", help_text="In the cache key: a new version never serves an old answer."
    )
    cache = models.JSONField(default=no_policy, blank=True)
    metering = models.JSONField(default=no_policy, blank=True)
    enabled = models.BooleanField(default=True)

    class Meta:
        verbose_name = "model"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
