"""Changes to the catalog: make what is stored match a file."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from django.db import Error as DatabaseError
from django.db import models, transaction
from django.db.models import Count

from billing.errors import BillingError
from billing.models import Plan
from billing.services.budgets import set_budget
from billing.services.catalog import Replaced, set_hit_discount, set_price
from billing.services.subscriptions import subscribe
from cacheproxy.catalog_entries import (
    BudgetEntry,
    CatalogFile,
    MembershipEntry,
    ModelEntry,
    PlanEntry,
    PoolEntry,
    TargetEntry,
    TenantEntry,
    UpstreamEntry,
)
from cacheproxy.errors import CatalogRefused
from cacheproxy.invalidations import Author
from cacheproxy.models import CachePool, ServedModel, Target, Upstream
from cacheproxy.policy import parse_cache_policy
from cacheproxy.pools import join_pool, leave_pool, unknown_pools
from cacheproxy.rules import ModelRules
from cacheproxy.semantic.minilm.files import lacking
from tenants.models import Tenant

Row = TypeVar("Row", bound=models.Model)
WARNING = "!"


class Change(NamedTuple):
    """One line of the diff: ``+`` made, ``~`` changed or ``-`` ended, and what; ``!`` is a warning."""

    sign: str
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


@contextmanager
def _naming(line: int) -> Iterator[None]:
    """Refuse the file, naming *line*, where billing or the database refuses what happens within."""
    try:
        with transaction.atomic():
            yield
    except (BillingError, DatabaseError) as error:
        raise CatalogRefused(f"line {line}: {str(error).splitlines()[0]}") from error


class _DryRun(Exception):
    """Undoes everything at the end of a dry run."""


def apply_catalog(
    *, catalog: CatalogFile, author: Author, now: datetime, dry_run: bool = False
) -> list[Change]:
    """Make the stored catalog match *catalog*, whole or not at all, and return what changed.

    What the file does not name stays as it is: nothing is deleted. Prices and discounts without an
    ``effective_from`` hold from *now* on where they differ from those in force. *author* is on record for who is in
    which pool.

    Raises:
        CatalogRefused: an entry names what does not exist, or would rewrite what usage was rated with;
            the message names its line.
    """
    changes: list[Change] = []
    try:
        with transaction.atomic():
            _Application(changes, author, now).apply(catalog)
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return changes


class _Application:
    """One run over a file, inside one transaction."""

    def __init__(self, changes: list[Change], author: Author, now: datetime) -> None:
        self.changes = changes
        self.author = author
        self.now = now

    def apply(self, catalog: CatalogFile) -> None:
        for section in catalog:
            for entry in section:
                with _naming(entry.line):
                    self._apply_entry(entry)
        self._check_protocols(catalog)
        self._check_encoders(catalog)

    def _apply_entry(self, entry: UpstreamEntry | PoolEntry | ModelEntry | PlanEntry | TenantEntry) -> None:
        match entry:
            case UpstreamEntry():
                self._upstream(entry)
            case PoolEntry():
                self._match(CachePool, {"name": entry.name}, {"pad_hits": entry.pad_hits})
            case ModelEntry():
                self._model(entry)
            case PlanEntry():
                self._plan(entry)
            case TenantEntry():
                self._tenant(entry)

    def _upstream(self, entry: UpstreamEntry) -> None:
        values = {
            "protocol": entry.protocol,
            "url": entry.url,
            "api_key_env": entry.api_key_env or "",
            "timeout_seconds": entry.timeout_seconds,
            "connect_timeout_seconds": entry.connect_timeout_seconds,
            "first_byte_timeout_seconds": entry.first_byte_timeout_seconds,
            "idle_timeout_seconds": entry.idle_timeout_seconds,
            "breaker_failures": entry.breaker_failures,
            "breaker_open_seconds": entry.breaker_open_seconds,
        }
        self._match(Upstream, {"name": entry.name}, values)

    def _model(self, entry: ModelEntry) -> None:
        targets = [self._target(entry, target) for target in entry.targets]
        if unknown := unknown_pools(parse_cache_policy(entry.cache)):
            raise CatalogRefused(
                f"line {entry.line}: models {entry.name}: cache.pool: there is no pool {unknown[0]!r}; "
                "name it under pools."
            )
        values = {
            "version": entry.version,
            "retry": entry.retry,
            "cache": entry.cache,
            "metering": entry.metering,
            "enabled": entry.enabled,
        }
        model = self._match(ServedModel, {"name": entry.name}, values)
        before, after = _served_by(model.targets.select_related("upstream")), _served_by(targets)
        if before == after:
            return
        sign, change = ("~", f"{before} → {after}") if before else ("+", after)
        self.changes.append(Change(sign, f"model {entry.name}: served by {change}"))
        model.targets.all().delete()
        for target in targets:
            target.model = model
            target.save()

    def _target(self, model: ModelEntry, entry: TargetEntry) -> Target:
        upstream = Upstream.objects.filter(name=entry.upstream).first()
        if upstream is None:
            raise CatalogRefused(
                f"line {entry.line}: models {model.name}: there is no upstream {entry.upstream!r}; "
                "name it under upstreams."
            )
        return Target(
            upstream=upstream,
            upstream_model=entry.upstream_model,
            weight=entry.weight,
            priority=entry.priority,
        )

    def _check_protocols(self, catalog: CatalogFile) -> None:
        """Refuse a file that leaves a model, named in it or not, with targets that speak different protocols."""
        protocols = Count("targets__upstream__protocol", distinct=True)
        mixed = ServedModel.objects.annotate(protocols=protocols).filter(protocols__gt=1)
        stated = set(mixed.values_list("name", flat=True))
        for model in catalog.models:
            if model.name in stated:
                raise CatalogRefused(
                    f"line {model.line}: models {model.name}: upstreams: they speak different protocols."
                )
        for upstream in catalog.upstreams:
            if other := mixed.filter(targets__upstream__name=upstream.name).first():
                raise CatalogRefused(
                    f"line {upstream.line}: upstreams {upstream.name}: protocol: the model {other} is also served "
                    "by an upstream that speaks another."
                )

    def _check_encoders(self, catalog: CatalogFile) -> None:
        """Refuse a file whose semantic policies name encoders that no model is; warn where the local one cannot run."""
        wanting = [
            (model, ModelRules(parse_cache_policy(model.cache, "cache")).semantics)
            for model in catalog.models
        ]
        encoders = ServedModel.objects.filter(enabled=True, targets__upstream__protocol="openai")
        for model, semantics in wanting:
            for name in {semantic.encoder for semantic in semantics} - {None}:
                if not encoders.filter(name=name).exists():
                    raise CatalogRefused(
                        f"line {model.line}: models {model.name}: cache.semantic.encoder: there is no enabled model "
                        f"{name!r} of the protocol openai; name it under models."
                    )
        names = [model.name for model, semantics in wanting if semantics]
        if names and (reason := lacking()) is not None:
            why = f"{reason} A gateway without it goes on without semantic hits."
            self.changes.append(Change(WARNING, f"models {', '.join(names)}: {why}"))

    def _plan(self, entry: PlanEntry) -> None:
        values = {"currency": entry.currency} | (entry.limits.values() if entry.limits else {})
        plan = self._match(Plan, {"name": entry.name}, values, fixed="currency", line=entry.line)
        for price in entry.prices:
            if not ServedModel.objects.filter(name=price.model).exists():
                raise CatalogRefused(
                    f"line {price.line}: prices: there is no model {price.model!r}; name it under models."
                )
            for pool, amount in price.amounts():
                with _naming(price.line):
                    replaced = set_price(
                        plan=plan, model=price.model, pool=pool, amount=amount, per=price.per, now=self.now,
                        effective_from=price.effective_from,
                    )  # fmt: skip
                self._superseded(plan, replaced)
        for discount in entry.hit_discounts:
            with _naming(discount.line):
                replaced = set_hit_discount(
                    plan=plan, outcome=discount.outcome, percent=Decimal(discount.percent), now=self.now,
                    model=discount.model, pool=discount.pool, effective_from=discount.effective_from,
                )  # fmt: skip
            self._superseded(plan, replaced)

    def _superseded(self, plan: Plan, replaced: Replaced | None) -> None:
        if replaced is None:
            return
        since = (
            ""
            if replaced.effective_from == self.now
            else f" from {replaced.effective_from:%Y-%m-%dT%H:%M:%SZ}"
        )
        if replaced.before is None:
            self.changes.append(Change("+", f"plan {plan}: {replaced.after}{since}"))
        else:
            self.changes.append(Change("~", f"plan {plan}: {replaced.before} → {replaced.after}{since}"))

    def _tenant(self, entry: TenantEntry) -> None:
        plan = Plan.objects.filter(name=entry.plan).first()
        if plan is None:
            raise CatalogRefused(
                f"line {entry.line}: tenants {entry.slug}: there is no plan {entry.plan!r}; name it under plans."
            )
        values = {
            "name": entry.name,
            "billing_email": entry.billing_email,
            "billing_address": entry.billing_address,
        }
        tenant = self._match(Tenant, {"slug": entry.slug}, values)
        before = subscribe(tenant=tenant, plan=plan, now=self.now)
        if before is None:
            self.changes.append(Change("+", f"tenant {tenant.slug}: on plan {plan}"))
        elif before != plan:
            self.changes.append(Change("~", f"tenant {tenant.slug}: plan {before} → {plan}"))
        for budget in entry.budgets:
            with _naming(budget.line):
                self._budget(tenant, budget)
        if entry.pools is not None:
            self._pools(tenant, entry.pools)

    def _pools(self, tenant: Tenant, entries: Sequence[MembershipEntry]) -> None:
        """Let the tenant be in these pools and no others."""
        known = {pool.name: pool for pool in CachePool.objects.all()}
        for entry in entries:
            pool = known.get(entry.pool)
            if pool is None:
                raise CatalogRefused(
                    f"line {entry.line}: tenants {tenant.slug}: pools: there is no pool {entry.pool!r}; "
                    "name it under pools."
                )
            if join_pool(
                pool=pool, tenant=tenant, agreed_by=entry.agreed_by, author=self.author, now=self.now
            ):
                text = f"tenant {tenant.slug}: in pool {pool}, agreed by {entry.agreed_by}"
                self.changes.append(Change("+", text))
        stated = {entry.pool for entry in entries}
        for membership in tenant.pool_memberships.filter(left_at=None).exclude(pool__name__in=stated):
            leave_pool(pool=membership.pool, tenant=tenant, author=self.author, now=self.now)
            self.changes.append(Change("-", f"tenant {tenant.slug}: left pool {membership.pool}"))

    def _budget(self, tenant: Tenant, entry: BudgetEntry) -> None:
        soft, hard = entry.amounts
        changed = set_budget(
            tenant=tenant, period=entry.period, soft_amount=soft, hard_amount=hard,
            webhook_url=entry.webhook_url, email=entry.email,
        )  # fmt: skip
        if changed is not None:
            sign, before = ("+", "") if changed.before is None else ("~", f"{changed.before} → ")
            self.changes.append(Change(sign, f"tenant {tenant.slug}: budget of a {before}{changed.after}"))

    def _match(
        self,
        kind: type[Row],
        key: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        fixed: str = "",
        line: int = 0,
    ) -> Row:
        """Make or change the row that *key* names; refuse to change its *fixed* field."""
        label = f"{kind._meta.verbose_name} {next(iter(key.values()))}"
        row = kind._default_manager.select_for_update().filter(**key).first()
        if row is None:
            stated = ", ".join(
                f"{name} {_shown(value)}"
                for name, value in values.items()
                if value is not False and value not in ("", {}, None)
            )
            self.changes.append(Change("+", f"{label} ({stated})"))
            return kind._default_manager.create(**key, **values)
        for name, value in values.items():
            before = getattr(row, name)
            if before == value:
                continue
            if name == fixed:
                raise CatalogRefused(
                    f"line {line}: {label}: {name} is {before} for good; make another plan for {value}."
                )
            self.changes.append(Change("~", f"{label}: {name} {_shown(before)} → {_shown(value)}"))
            setattr(row, name, value)
        row.save()
        return row


def _served_by(targets: Iterable[Target]) -> str:
    """Return targets in words, those of lower priority first."""
    return ", ".join(map(_told, sorted(targets, key=lambda target: target.priority)))


def _told(target: Target) -> str:
    name = "/".join(filter(None, (target.upstream.name, target.upstream_model)))
    return f"{name} (weight {target.weight}, priority {target.priority})"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return "–" if value in (None, "") else str(value)
