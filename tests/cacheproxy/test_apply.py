"""The catalog file: applied whole or not at all, with a diff, and told apart line by line."""

from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Protocol

import pytest
from django.core.management import CommandError, call_command

from billing.models import HitDiscount, Plan, Price, Subscription
from cacheproxy.models import ServedModel, Target, Upstream
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

CATALOG = """
upstreams:
  - {name: local, protocol: openai, url: "http://127.0.0.1:9100/v1", api_key_env: LOCAL_KEY, timeout_seconds: 120}
models:
  - name: qwen-small
    upstream: local
    upstream_model: Qwen1.5-0.5B
    version: "1"
    cache: {ttl_seconds: 86400, ttl_jitter: 0.1, scope: tenant, semantic: {threshold: 0.92}}
plans:
  - name: standard
    currency: USD
    prices:
      - {model: qwen-small, input: "0.50", cache_read: "0.05", cache_write: "0.625", output: "1.50"}
    hit_discounts: {exact: "100", coalesced: "100", semantic: "80"}
tenants:
  - {slug: acme, name: Acme Ltd, plan: standard}
"""


class Run(Protocol):
    def __call__(self, text: str, *, dry_run: bool = False) -> list[str]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(text: str, *, dry_run: bool = False) -> list[str]:
        path = tmp_path / "catalog.yaml"
        path.write_text(text)
        out = StringIO()
        call_command("apply", str(path), dry_run=dry_run, stdout=out)
        return out.getvalue().splitlines()

    return run


def stored() -> tuple[int, ...]:
    return tuple(kind.objects.count() for kind in (Upstream, ServedModel, Plan, Price, HitDiscount, Tenant))


def test_the_contracts_example_is_applied(run: Run) -> None:
    lines = run(CATALOG)
    assert lines[-1] == "13 changed."
    assert "+ plan standard: qwen-small output: 1.5 per 1,000,000" in lines
    assert stored() == (1, 1, 1, 4, 3, 1)
    assert Price.objects.get(pool="cache_write").amount == Decimal("0.625")
    assert Subscription.objects.get().plan.name == "standard"


def test_a_second_time_changes_nothing(run: Run) -> None:
    run(CATALOG)
    assert run(CATALOG) == ["Nothing to change."]


def test_a_dry_run_prints_the_same_and_writes_nothing(run: Run) -> None:
    dry = run(CATALOG, dry_run=True)
    assert dry[-1] == "13 would change."
    assert stored() == (0, 0, 0, 0, 0, 0)
    assert dry[:-1] == run(CATALOG)[:-1]


def test_a_new_price_supersedes_the_old_one(run: Run) -> None:
    run(CATALOG)
    (line, count) = run(CATALOG.replace('input: "0.50"', 'input: "0.70"'))
    assert line.startswith(
        "~ plan standard: qwen-small input: 0.5 per 1,000,000 → qwen-small input: 0.7 per 1,000,000"
    )
    assert count == "1 changed."
    assert list(Price.objects.filter(pool="input").values_list("amount", flat=True)) == [
        Decimal("0.7"),
        Decimal("0.5"),
    ]


def test_a_tenant_changes_plan_without_a_gap(run: Run) -> None:
    run(CATALOG)
    other = CATALOG.replace("standard", "volume")
    assert any("tenant acme: plan standard → volume" in line for line in run(other))
    new, old = Subscription.objects.order_by("-starts_at")
    assert (old.ends_at, new.ends_at) == (new.starts_at, None)


def test_a_future_price_is_kept_and_may_be_changed_until_it_holds(run: Run) -> None:
    run(CATALOG)
    later = (
        '      - {model: qwen-small, input: "0.40", effective_from: 2099-01-01T00:00:00Z}\n    hit_discounts'
    )
    with_later = CATALOG.replace("    hit_discounts", later)
    assert run(with_later)[-1] == "1 changed."
    assert run(with_later) == ["Nothing to change."]
    assert run(with_later.replace('"0.40"', '"0.30"'))[-1] == "1 changed."
    assert Price.objects.filter(pool="input").count() == 2


MISTAKES = [
    ('input: "0.50"', "input: 0.50", r"line 14: plans\[0\].prices\[0\].input: must be a string, not a float"),
    ('input: "0.50"', 'input: "-1"', r"line 14: plans\[0\].prices\[0\].input: "),
    (
        'input: "0.50"',
        'inptu: "0.50"',
        r"line 14: plans\[0\].prices\[0\].inptu: unknown field; there are model",
    ),
    ("protocol: openai", "protocol: grpc", r"line 3: upstreams\[0\].protocol: Invalid enum value 'grpc'"),
    ("ttl_seconds: 86400", "ttl_seconds: 0", r"line 5: models qwen-small: cache.ttl_seconds: "),
    ("ttl_seconds", "ttl_secs", r"line 5: models qwen-small: cache: .*unknown field `ttl_secs`"),
    ("currency: USD", "currency: USX", r"line 11: plans standard: currency: 'USX' is not an ISO 4217"),
    ('exact: "100"', 'exact: "101"', r"line 15: plans\[0\].hit_discounts.exact.percent: "),
    (
        'exact: "100"',
        "exact: 100",
        r"line 15: plans\[0\].hit_discounts.exact.percent: must be a string, not a int",
    ),
    ("upstream: local", "upstream: lokal", r"line 5: models qwen-small: there is no upstream 'lokal'"),
    ("plan: standard}", "plan: premium}", r"line 17: tenants acme: there is no plan 'premium'"),
    ("model: qwen-small", "model: qwen", r"line 14: prices: there is no model 'qwen'"),
    ("tenants:", "tenant:", r"line 16: tenant: unknown section"),
    ("  - {slug: acme", "  - {slug: acme, slug: b", r"line 17: tenants\[0\].slug: is given twice"),
    ("models:", "models: [", "line "),
]


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES)
def test_a_mistake_names_its_line_and_field_and_nothing_is_written(
    run: Run, right: str, wrong: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message) as refusal:
        run(CATALOG.replace(right, wrong))
    assert "nothing was applied" in str(refusal.value)
    assert stored() == (0, 0, 0, 0, 0, 0)


TWO_UPSTREAMS = CATALOG.replace(
    "    upstream: local\n    upstream_model: Qwen1.5-0.5B\n",
    """    upstreams:
      - {upstream: local, upstream_model: Qwen1.5-0.5B, weight: 3}
      - {upstream: spare, priority: 1}
""",
).replace(
    "models:",
    '  - {name: spare, protocol: openai, url: "http://127.0.0.1:9200/v1", idle_timeout_seconds: 5}\nmodels:',
)


def test_a_model_is_served_by_several_upstreams(run: Run) -> None:
    lines = run(TWO_UPSTREAMS)
    shown = "local/Qwen1.5-0.5B (weight 3, priority 0), spare (weight 1, priority 1)"
    assert f"+ model qwen-small: served by {shown}" in lines
    assert run(TWO_UPSTREAMS) == ["Nothing to change."]
    assert list(Target.objects.values_list("upstream__name", "upstream_model", "weight", "priority")) == [
        ("local", "Qwen1.5-0.5B", 3, 0),
        ("spare", "", 1, 1),
    ]

    line, count = run(TWO_UPSTREAMS.replace("weight: 3", "weight: 2"))
    assert line == f"~ model qwen-small: served by {shown} → {shown.replace('weight 3', 'weight 2')}"
    assert count == "1 changed."
    assert run(CATALOG)[0].endswith("→ local/Qwen1.5-0.5B (weight 1, priority 0)")


def test_upstreams_that_serve_one_model_change_their_protocol_together(run: Run) -> None:
    run(TWO_UPSTREAMS)
    moved = TWO_UPSTREAMS.replace("protocol: openai", "protocol: anthropic")
    assert run(moved)[-1] == "2 changed."
    upstreams_alone = moved[: moved.index("models:")].replace("anthropic", "oip", 1)
    with pytest.raises(CommandError, match="line 3: upstreams local: protocol: the model qwen-small is also"):
        run(upstreams_alone)


MISTAKES_OF_TARGETS = [
    ("weight: 3", "weight: 0", r"line 8: models\[0\].upstreams\[0\].weight: Expected `int` >= 1"),
    ("priority: 1", "prio: 1", r"line 9: models\[0\].upstreams\[1\].prio: unknown field; there are upstream"),
    ("upstream: spare", "upstream: spear", r"line 9: models qwen-small: there is no upstream 'spear'"),
    ("name: spare, protocol: openai", "name: spare, protocol: oip", r"line 6: .* speak different protocols"),
    (
        "upstream: spare,",
        "upstream: local, upstream_model: Qwen1.5-0.5B,",
        r"line 9: .* local is given twice",
    ),
    (
        "    upstreams:",
        "    upstream: local\n    upstreams:",
        r"line 6: models\[0\]: name its upstream, or a list",
    ),
    (
        "    upstreams:",
        "    upstream_model: x\n    upstreams:",
        r"line 7: models\[0\].upstream_model: stands",
    ),
    ("idle_timeout_seconds: 5", "idle_timeout_seconds: 0", r"line 4: upstreams\[1\].idle_timeout_seconds: "),
]


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES_OF_TARGETS)
def test_a_mistake_in_a_list_of_upstreams_names_its_line_and_field(
    run: Run, right: str, wrong: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run(TWO_UPSTREAMS.replace(right, wrong))
    assert stored() == (0, 0, 0, 0, 0, 0)


def test_every_mistake_is_named_at_once(run: Run) -> None:
    wrong = CATALOG.replace('input: "0.50"', "input: 0.50").replace("protocol: openai", "protocol: grpc")
    with pytest.raises(CommandError) as refusal:
        run(wrong)
    assert [line.split(":")[0] for line in str(refusal.value).splitlines()[1:]] == ["line 3", "line 14"]


def test_a_price_in_the_past_is_refused_once_the_plan_is_subscribed_to(run: Run) -> None:
    run(CATALOG)
    earlier = (
        '      - {model: qwen-small, input: "0.40", effective_from: 2020-01-01T00:00:00Z}\n    hit_discounts'
    )
    with pytest.raises(CommandError, match=r"line 15: 2020-01-01T00:00:00Z is past"):
        run(CATALOG.replace("    hit_discounts", earlier))
    assert Price.objects.filter(pool="input").count() == 1


def test_a_plans_currency_is_for_good(run: Run) -> None:
    run(CATALOG)
    with pytest.raises(CommandError, match="currency is USD for good"):
        run(CATALOG.replace("currency: USD", "currency: EUR"))


def test_a_missing_file_is_said_so() -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("apply", "nowhere.yaml")


ENCODED = CATALOG.replace("semantic: {threshold: 0.92}", "semantic: {encoder: bge}")


def test_an_encoder_that_is_no_model_is_refused_by_its_line(run: Run) -> None:
    with pytest.raises(CommandError, match=r"line 5: models qwen-small: cache.semantic.encoder: .*'bge'"):
        run(ENCODED)
    assert not ServedModel.objects.exists()


def test_an_encoder_may_stand_anywhere_in_the_file(run: Run) -> None:
    encoder = '\n  - {name: bge, upstream: local, version: "1"}\nplans:'
    lines = run(ENCODED.replace("\nplans:", encoder))
    assert any("bge" in line for line in lines)
