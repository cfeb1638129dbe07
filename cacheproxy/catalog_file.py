"""The catalog file: YAML in, typed entries out, every mistake with its line and field. Plain."""

import re
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import yaml

from billing.money import minor_unit
from cacheproxy.catalog_entries import (
    BudgetEntry,
    CatalogFile,
    Entry,
    HitDiscountEntry,
    LimitsEntry,
    MembershipEntry,
    ModelEntry,
    PlanEntry,
    PoolEntry,
    PriceEntry,
    TargetEntry,
    TenantEntry,
    UpstreamEntry,
)
from cacheproxy.policy import PolicyError, parse_cache_policy, parse_metering_rules
from metering.tokens import BILLABLE

POWERS_OF_TEN = frozenset(10**power for power in range(13))
UNKNOWN_FIELD = re.compile(r"unknown field `(\w+)`")
WANTS_TEXT = re.compile(r"Expected `str(?: \| null)?`, got `(float|int|bool)`")


class Problem(NamedTuple):
    """One mistake in a file: its line (from 1), the field's path and what to do."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.message}"


class InvalidCatalog(ValueError):
    """The file is refused whole; ``problems`` lists every mistake found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


SECTIONS: dict[str, type[Entry]] = {
    "upstreams": UpstreamEntry,
    "pools": PoolEntry,
    "models": ModelEntry,
    "plans": PlanEntry,
    "tenants": TenantEntry,
}


def read_catalog(text: str) -> CatalogFile:
    """Return the catalog that *text* states.

    Raises:
        InvalidCatalog: it is no YAML, a field is unknown, missing or of the wrong kind, a price is not a
            string, or a name is given twice; all mistakes at once.
    """
    return _Reader().read(text)


class _Reader:
    """Reads one file, gathering problems as it goes."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}

    def read(self, text: str) -> CatalogFile:
        document = self._document(text)
        sections = {name: self._section(document, name, entry) for name, entry in SECTIONS.items()}
        self._check_models(sections["models"])
        self._check_plans(sections["plans"])
        if self.problems:
            raise InvalidCatalog(sorted(self.problems))
        return CatalogFile(**sections)

    def _document(self, text: str) -> dict[str, Any]:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            document = {} if node is None else self._value(node, "")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            raise InvalidCatalog(
                [Problem(line, "file", getattr(error, "problem", None) or str(error))]
            ) from error
        if not isinstance(document, dict):
            raise InvalidCatalog([Problem(1, "file", f"must hold {', '.join(SECTIONS)}.")])
        for name in document.keys() - SECTIONS.keys():
            self._report(f".{name}", f"unknown section; the sections are {', '.join(SECTIONS)}.")
        return document

    def _value(self, node: yaml.Node, path: str) -> Any:
        """Return what *node* holds, noting the line of every field."""
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return _SCALARS.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = str(key_node.value)
            field = f"{path}.{name}"
            if name in mapping:
                self._report(field, "is given twice.")
            mapping[name] = self._value(value_node, field)
            self.lines[field] = key_node.start_mark.line + 1
        return mapping

    def _section(self, document: dict[str, Any], name: str, entry: type[Entry]) -> list[Any]:
        items = document.get(name) or []
        if not isinstance(items, list):
            self._report(f".{name}", "must be a list.")
            return []
        entries = [self._entry(item, f".{name}[{index}]", entry) for index, item in enumerate(items)]
        known: set[str] = set()
        for index, made in enumerate(entries):
            identity = getattr(made, "slug", None) or getattr(made, "name", None)
            if identity in known:
                self._report(f".{name}[{index}]", f"{identity!r} is given twice.")
            known.add(identity or "")
        return [made for made in entries if made is not None]

    def _entry(self, item: Any, path: str, entry: type[Entry]) -> Any:
        if isinstance(item, dict):
            item = dict(item)
            if entry is ModelEntry:
                self._check_form(item, path)
                item["upstreams"] = self._children(item.get("upstreams"), f"{path}.upstreams", TargetEntry)
            if entry is PlanEntry:
                item["prices"] = self._children(item.get("prices"), f"{path}.prices", PriceEntry)
                item["hit_discounts"] = self._hit_discounts(
                    item.get("hit_discounts"), f"{path}.hit_discounts"
                )
                if isinstance(item.get("limits"), dict):
                    item["limits"] = self._entry(item["limits"], f"{path}.limits", LimitsEntry)
            if entry is TenantEntry:
                item["budgets"] = self._budgets(item.get("budgets"), f"{path}.budgets")
                if item.get("pools") is not None:
                    item["pools"] = self._memberships(item["pools"], f"{path}.pools")
        try:
            made = msgspec.convert(item, entry)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            unknown = UNKNOWN_FIELD.search(message)
            field = f".{unknown[1]}" if unknown else ""
            self._report(path + where.rstrip("`") + field, _remedied(message, entry))
            return None
        made.line = self.lines[path]
        self._check_instant(getattr(made, "effective_from", None), path)
        return made

    def _check_form(self, model: dict[str, Any], path: str) -> None:
        if ("upstream" in model) == bool(model.get("upstreams")):
            self._report(path, "name its upstream, or a list of upstreams: exactly one of the two.")
        elif "upstreams" in model and "upstream_model" in model:
            self._report(f"{path}.upstream_model", "stands beside each upstream in the list.")

    def _children(self, items: Any, path: str, entry: type[Entry]) -> list[Any]:
        if items is None:
            return []
        if not isinstance(items, list):
            self._report(path, "must be a list.")
            return []
        made = (self._entry(item, f"{path}[{index}]", entry) for index, item in enumerate(items))
        return [child for child in made if child is not None]

    def _budgets(self, items: Any, path: str) -> list[Any]:
        budgets = self._children(items, path, BudgetEntry)
        periods: set[str] = set()
        for budget in budgets:
            if budget.period in periods:
                self.problems.append(Problem(budget.line, "budgets", f"{budget.period} is given twice."))
            periods.add(budget.period)
        return budgets

    def _memberships(self, items: Any, path: str) -> list[Any]:
        memberships = self._children(items, path, MembershipEntry)
        pools: set[str] = set()
        for membership in memberships:
            if membership.pool in pools:
                self.problems.append(Problem(membership.line, "pools", f"{membership.pool} is given twice."))
            pools.add(membership.pool)
        return memberships

    def _hit_discounts(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, dict):
            return self._children(value, path, HitDiscountEntry)
        made = []
        for outcome, percent in value.items():
            self.lines.setdefault(f"{path}.{outcome}.percent", self.lines[f"{path}.{outcome}"])
            made.append(
                self._entry({"outcome": outcome, "percent": percent}, f"{path}.{outcome}", HitDiscountEntry)
            )
        return [entry for entry in made if entry is not None]

    def _check_instant(self, instant: datetime | None, path: str) -> None:
        if instant is not None and instant.tzinfo is None:
            self._report(f"{path}.effective_from", "must be UTC: write 2026-12-01T00:00:00Z.")

    def _check_models(self, models: list[ModelEntry]) -> None:
        for model in models:
            known: set[tuple[str, str]] = set()
            for target in model.targets:
                identity = target.upstream, target.upstream_model
                if identity in known:
                    field = f"models {model.name}: upstreams"
                    self.problems.append(Problem(target.line, field, f"{target.upstream} is given twice."))
                known.add(identity)
            try:
                parse_cache_policy(model.cache)
                parse_metering_rules(model.metering)
            except PolicyError as error:
                self.problems.append(Problem(model.line, f"models {model.name}", str(error)))

    def _check_plans(self, plans: list[PlanEntry]) -> None:
        for plan in plans:
            try:
                minor_unit(plan.currency)
            except ValueError as error:
                self.problems.append(Problem(plan.line, f"plans {plan.name}: currency", str(error)))
            for price in plan.prices:
                if price.per not in POWERS_OF_TEN:
                    self.problems.append(
                        Problem(price.line, f"prices {price.model}: per", "must be a power of ten.")
                    )
                if not any(price.amounts()):
                    self.problems.append(
                        Problem(
                            price.line,
                            f"prices {price.model}",
                            f"prices nothing; name one of {', '.join(BILLABLE)}.",
                        )
                    )

    def _report(self, path: str, message: str) -> None:
        nearest = path
        while nearest not in self.lines and nearest:
            nearest = nearest[: max(nearest.rfind("."), nearest.rfind("["), 0)]
        self.problems.append(Problem(self.lines.get(nearest, 1), path.lstrip("."), message))


def _remedied(message: str, entry: type[Entry]) -> str:
    if UNKNOWN_FIELD.search(message):
        known = ", ".join(name for name in entry.__struct_fields__ if name != "line")
        return f"unknown field; there are {known}."
    if wrong := WANTS_TEXT.search(message):
        return f'must be a string, not a {wrong[1]}: write it in quotes, as "0.50".'
    return message if message.endswith(".") else f"{message}."


_SCALARS = yaml.SafeLoader("")
