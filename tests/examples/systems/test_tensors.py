"""The system of docs/systems/tensors.md: what it shows, in the ledger too, and Triton's own client at the gateway."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton

from examples.systems import tensors
from examples.systems.gateway import Answer
from examples.systems.system import call
from tests.examples.systems.conftest import Stage

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def key(stage: Stage) -> Iterator[str]:
    with stage.serving(tensors.SYSTEM) as key:
        yield key


@pytest.fixture(scope="module")
def answers(stage: Stage, key: str) -> dict[str, Answer]:
    """Give what came of the calls, the last of those with the same name."""
    made = asyncio.run(call(tensors.SYSTEM, stage.stack.url, key))
    stage.check(made)
    return {answer.step: answer for answer in made}


@pytest.mark.parametrize(
    ("step", "rows"),
    [
        ("one flower, JSON", 1),
        ("three flowers, binary tensors", 3),
        ("the first two of them", 2),
        ("the best class of each", 3),
        ("part of a sequence: never kept", 3),
        ("MLServer: a batch", 3),
    ],
)
def test_a_row_is_a_unit_in_whatever_form_it_comes(
    stage: Stage, answers: dict[str, Answer], step: str, rows: int
) -> None:
    event = stage.event(answers[step])
    assert (event.units, event.input, event.output, event.quality) == (rows, 0, 0, "reported")
    assert answers[step].list_cost * 10_000 == 2 * rows


def test_a_hit_names_the_miss_that_paid(stage: Stage, answers: dict[str, Answer]) -> None:
    paid, free = answers["three flowers, binary tensors"], answers["again, under another id"]
    assert stage.event(free).source_event == stage.event(paid).event_id
    assert not free.cost
    assert free.saved == paid.list_cost


def test_the_documented_client_gets_what_was_stored(
    stage: Stage, answers: dict[str, Answer], key: str
) -> None:
    rows = np.array(tensors.FLOWERS, dtype=np.float32)
    tensor = triton.InferInput("features", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    with triton.InferenceServerClient(stage.stack.url.removeprefix("http://")) as client:
        wanted = [triton.InferRequestedOutput("label")]
        headers = {"authorization": f"Bearer {key}", "cache-control": "only-if-cached"}
        result = client.infer("iris", [tensor], outputs=wanted, headers=headers)
    assert result.as_numpy("label").tolist() == [0, 2, 1]
