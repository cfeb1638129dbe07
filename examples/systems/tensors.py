"""Tensors by the Open Inference Protocol: ONNX Runtime with JSON and binary tensors, and MLServer; see docs/systems."""

import json
from typing import Any

import numpy as np
import tritonclient.http as triton

from examples.systems.gateway import Answer, Gateway, expect
from examples.systems.system import Server, System
from examples.upstreams.iris import SPECIES

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5], [5.9, 3.0, 4.2, 1.5]]
NAMES = ["setosa", "virginica", "versicolor"]
IRIS = "/v2/models/iris/infer"
FIRST_IRIS = "/v2/models/iris/versions/1/infer"
MLSERVER = "/v2/models/iris-mlserver/infer"
JSON_LENGTH = "Inference-Header-Content-Length"


async def calls(gateway: Gateway) -> None:
    """Ask for one flower, for batches as bytes, with parameters, of both servers; most of it twice."""
    await _single(gateway)
    await _batches(gateway)
    await _parameters(gateway)
    await _mlserver(gateway)


async def _single(gateway: Gateway) -> None:
    flower = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": FLOWERS[0]}
    asked = {"id": "first", "inputs": [flower]}
    first = await gateway.ask("one flower, JSON", IRIS, expected="miss", json=asked)
    other_spelling = json.dumps({"inputs": [dict(reversed(flower.items()))], "id": "second"}, indent=2)
    again = await gateway.ask("again: other id, order, blanks", IRIS, expected="exact", data=other_spelling)
    told, repeated = json.loads(first.body), json.loads(again.body)
    expect(
        that=(told.pop("id"), repeated.pop("id")) == ("first", "second") and told == repeated,
        otherwise=f"{again.body!r} is not {first.body!r} under its own id",
    )
    await gateway.ask("the other version of the model", FIRST_IRIS, expected="miss", json=asked)
    flower["data"] = [5.1, 3.5, 1.4, 0.3]
    await gateway.ask("a flower that differs in a digit", IRIS, expected="miss", json=asked)
    for _ in "ab":
        wrong = {"inputs": [{**flower, "shape": [1, 3], "data": [5.1, 3.5, 1.4]}]}
        await gateway.ask("a wrong shape, refused by the server", IRIS, expected="400", json=wrong)


async def _batches(gateway: Gateway) -> None:
    wanted = [triton.InferRequestedOutput("label")]
    for step, expected in (("three flowers, binary tensors", "miss"), ("again, under another id", "exact")):
        result = await _infer(gateway, step, expected, FLOWERS, outputs=wanted, request_id=step)
        read = [SPECIES[label] for label in result.as_numpy("label")]
        expect(that=read == NAMES, otherwise=f"{step}: {read}, not {NAMES}")
    await _infer(gateway, "the first two of them", "miss", FLOWERS[:2], outputs=wanted)


async def _parameters(gateway: Gateway) -> None:
    best_two = [triton.InferRequestedOutput("probabilities", class_count=2)]
    for step, expected in (("the best two classes of each", "miss"), ("again", "exact")):
        result = await _infer(gateway, step, expected, FLOWERS, outputs=best_two)
        classes = result.as_numpy("probabilities")
        expect(that=classes.shape == (3, 2), otherwise=f"{step}: {classes}")
    best = [triton.InferRequestedOutput("probabilities", class_count=1)]
    await _infer(gateway, "the best class of each", "miss", FLOWERS, outputs=best)
    for _ in "ab":
        await _infer(gateway, "part of a sequence: never kept", "bypass", FLOWERS, sequence_id=7)


async def _mlserver(gateway: Gateway) -> None:
    def asked(**parameters: Any) -> dict[str, Any]:
        tensor = {"name": "features", "datatype": "FP32", "shape": [3, 4], "data": FLOWERS}
        return {"parameters": parameters, "inputs": [tensor]}

    first = await gateway.ask("MLServer: a batch", MLSERVER, expected="miss", json=asked(trace="a"))
    expect(that=_species(first) == NAMES, otherwise=f"MLServer sees {_species(first)}, not {NAMES}")
    await gateway.ask("again: another trace, volatile", MLSERVER, expected="exact", json=asked(trace="b"))
    for step, expected in (("with temperature 5", "miss"), ("again", "exact")):
        await gateway.ask(f"MLServer: {step}", MLSERVER, expected=expected, json=asked(temperature=5))


def _species(answer: Answer) -> list[str]:
    (species,) = (out["data"] for out in json.loads(answer.body)["outputs"] if out["name"] == "species")
    return list(species)


async def _infer(gateway: Gateway, step: str, expected: str, rows: Any, **asked: Any) -> triton.InferResult:
    """Ask as Triton's client does, which writes the request and reads the answer here."""
    features = np.array(rows, dtype=np.float32)
    tensor = triton.InferInput("features", list(features.shape), "FP32")
    tensor.set_data_from_numpy(features)
    body, json_length = triton.InferenceServerClient.generate_request_body([tensor], **asked)
    headers = {JSON_LENGTH: str(json_length)}
    answer = await gateway.ask(step, IRIS, expected=expected, data=body, headers=headers)
    told = answer.headers.get(JSON_LENGTH)
    return triton.InferenceServerClient.parse_response_body(
        answer.body, header_length=None if told is None else int(told)
    )


SYSTEM = System(
    title="Tensor inference by the Open Inference Protocol",
    catalog="tensors.yaml",
    servers=(
        Server("oip_server", 9102, "/v2/health/ready"),
        Server("mlserver_server", 9103, "/v2/health/ready", environment="mlserver"),
    ),
    tenant="botany",
    calls=calls,
)
