"""The error budgets of semantic hits, from the control plane: what gateways have found of each model so far."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec
from django.db import connection

from cacheproxy.models import ServedModel
from cacheproxy.policy import parse_cache_policy
from cacheproxy.rules import ModelRules
from cacheproxy.semantic.budget.account import Account, State
from cacheproxy.semantic.budget.rules import rules_of

_STATES = "SELECT model, version, state::text, updated_at FROM cacheproxy_semanticbudget"
_decode = msgspec.json.Decoder(State).decode


class BudgetReport(NamedTuple):
    """How a model's semantic hits do under its error budget. Ratios are shares of the hits, 0 to 1, to four places."""

    model: str
    version: str
    shut_off: bool
    """Whether no hit is served, until checks prove the answers good."""
    wrong_ratio: Decimal
    """The share that is wrong at most, as far as calibration and checks say."""
    tolerated_ratio: Decimal
    checks: int
    """Of hits that were, or but for a shut-off would have been, served; older ones than the last drift do not count."""
    wrong: int
    drifts: int
    """How often the model's answers changed so much that all that was proven was void."""
    updated_at: datetime


def budget_reports() -> list[BudgetReport]:
    """Return the budgets of the models as they are served now, by name; none of a model that nobody has called."""
    with connection.cursor() as cursor:
        cursor.execute(_STATES)
        states = {(model, version): rest for model, version, *rest in cursor.fetchall()}
    return [
        _report(model, rules, *states[model.name, model.version])
        for model, rules in _sharing()
        if (model.name, model.version) in states
    ]


def _sharing() -> Iterator[tuple[ServedModel, ModelRules]]:
    """Yield the models that share answers by meaning."""
    for model in ServedModel.objects.filter(enabled=True).order_by("name"):
        rules = ModelRules(parse_cache_policy(model.cache))
        if rules.semantics:
            yield model, rules


def _report(model: ServedModel, rules: ModelRules, state: str, updated_at: datetime) -> BudgetReport:
    account = Account(rules_of(rules.semantics[0]), _decode(state))
    return BudgetReport(
        model.name,
        model.version,
        account.state.shut,
        _ratio(account.upper),
        _ratio(account.tolerance),
        round(account.state.proof.checks),
        round(account.state.proof.wrong),
        account.state.drifts,
        updated_at,
    )


def _ratio(share: float) -> Decimal:
    return Decimal(f"{share:.4f}")
