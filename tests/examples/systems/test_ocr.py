"""The system of docs/systems/ocr.md: what it shows, in the ledger too, and that no tier has what must not be kept."""

import asyncio
from collections.abc import Iterator

import pytest
import requests

from examples.documents import receipts
from examples.systems import ocr
from examples.systems.gateway import Answer
from examples.systems.system import call
from tests.examples.systems.conftest import Stage

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def key(stage: Stage) -> Iterator[str]:
    with stage.serving(ocr.SYSTEM) as key:
        yield key


@pytest.fixture(scope="module")
def answers(stage: Stage, key: str) -> list[Answer]:
    """Give what came of the calls, in their order."""
    made = asyncio.run(call(ocr.SYSTEM, stage.stack.url, key))
    stage.check(made)
    return made


def named(answers: list[Answer], step: str) -> list[Answer]:
    return [answer for answer in answers if answer.step == step]


@pytest.mark.parametrize("step", ["again, as a data URL", "again, as a form", "again, the bare file"])
def test_a_page_in_another_form_is_the_same_for_nothing(
    stage: Stage, answers: list[Answer], step: str
) -> None:
    (again,) = named(answers, step)
    paid, free = stage.event(answers[0]), stage.event(again)
    assert (free.input, free.output, free.source_event) == (paid.input, paid.output, paid.event_id)
    assert free.input
    assert not again.cost
    assert 0.9 * 86_400 - 60 < int(again.headers["Cache-Status"].split("ttl=")[1].split(";")[0]) <= 86_400


def test_forms_at_once_are_one_page(stage: Stage, answers: list[Answer]) -> None:
    at_once = named(answers, "three forms at once")
    (computed,) = (answer for answer in at_once if answer.outcome == "miss")
    paid = stage.event(computed)
    shared = [stage.event(answer) for answer in at_once if answer is not computed]
    assert {event.source_event for event in shared} == {paid.event_id}


def test_an_identity_is_in_no_tier(stage: Stage, answers: list[Answer], key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "cache-control": "only-if-cached"}

    def status(**request: object) -> int:
        url = f"{stage.stack.url}{ocr.READ}"
        return requests.post(url, **request, headers=headers, timeout=30).status_code  # type: ignore[arg-type]

    assert status(files={"image": ("a.png", receipts(seed=1)[0].png, "image/png")}) == 200
    assert status(files={"image": ("a.png", ocr.registration(), "image/png")}) == 504


def test_a_masked_page_says_so(answers: list[Answer]) -> None:
    first, masked = named(answers, "for the index: kept, masked")[0], named(answers, "again")[0]
    assert "x-zerorate-masked" not in first.headers
    assert masked.headers["x-zerorate-masked"] == "card, identity"
    assert b"[identity]" in masked.body
    assert b"[card]" in masked.body
