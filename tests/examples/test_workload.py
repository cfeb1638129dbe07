import base64
import json
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import yaml

from examples import workload
from examples.documents import Document

NOW = datetime(2026, 3, 31, 17, 0, tzinfo=UTC)
CATALOG = yaml.safe_load(Path("examples/catalogs/demo.yaml").read_text())
CALLS = workload.uploads(seed=1, now=NOW)
VOLATILE = [name[1:] for name in CATALOG["models"][0]["cache"]["volatile_fields"]]
HIT_DISCOUNTS = {"acme": Fraction(1), "globex": Fraction(1, 2)}


def test_every_document_passes_the_steps_of_its_tenant_in_order() -> None:
    paths: dict[tuple[str, str], list[str]] = {}
    for call in CALLS:
        paths.setdefault((call.tenant, call.document.name), []).append(call.step)
    assert all(tuple(steps) == workload.STEPS[tenant] for (tenant, _), steps in paths.items())
    assert Counter(tenant for tenant, _ in paths) == {"acme": 19, "globex": workload.GLOBEX_DOCUMENTS}


def test_no_two_bodies_are_alike_but_each_holds_its_document() -> None:
    assert len({call.body for call in CALLS}) == len(CALLS)
    for call in CALLS:
        assert base64.b64decode(json.loads(call.body)["image"]) == call.document.png


def test_writing_varies_in_field_order_and_blanks_and_escapes() -> None:
    orders = {tuple(json.loads(call.body)) for call in CALLS}
    assert len(orders) > 20
    assert {call.body[:2] for call in CALLS} >= {b'{"', b"{\n"}
    assert any(b"\\/" in call.body for call in CALLS)
    assert any(b"\\/" not in call.body and b"/" in call.body for call in CALLS)


def test_uploads_of_a_document_differ_only_in_what_the_catalog_calls_volatile() -> None:
    fields = [{**json.loads(call.body), **dict.fromkeys(VOLATILE)} for call in CALLS]
    assert len({json.dumps(document, sort_keys=True) for document in fields}) == 19


def test_the_last_call_is_made_now() -> None:
    assert json.loads(CALLS[-1].body)["timestamp"] == NOW.isoformat()


def test_the_tokens_to_pay_for_fall_by_sixty_percent_and_as_the_module_says() -> None:
    served: Counter[str] = Counter()
    charged: dict[str, Fraction] = {"acme": Fraction(), "globex": Fraction()}
    seen: set[tuple[str, Document]] = set()
    for call in CALLS:
        size = len(call.document.png)  # stands in for tokens: only the weights of the documents matter
        served[call.tenant] += size
        hit = (call.tenant, call.document) in seen
        charged[call.tenant] += size * (1 - HIT_DISCOUNTS[call.tenant] if hit else 1)
        seen.add((call.tenant, call.document))
    assert charged["acme"] / served["acme"] == Fraction(1, 6)
    assert charged["globex"] / served["globex"] == Fraction(3, 5)
    assert 1 - sum(charged.values()) / sum(served.values()) >= Fraction(60, 100)
