"""Triton's own client against the example server."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]


@pytest.fixture
def client(oip_url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(oip_url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, values: Any, datatype: str, *, binary: bool = True) -> triton.InferInput:
    array = np.asarray(values, dtype=triton.triton_to_np_dtype(datatype)) if datatype != "BYTES" else values
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def flowers(*, binary: bool = True) -> triton.InferInput:
    return tensor("features", [SETOSA, VIRGINICA], "FP32", binary=binary)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "2")
    assert not client.is_model_ready("iris", "3")
    metadata = client.get_model_metadata("iris")
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_a_batch_of_flowers(client: triton.InferenceServerClient, binary_in: bool, binary_out: bool) -> None:
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "label")
    ]
    result = client.infer("iris", [flowers(binary=binary_in)], outputs=outputs, request_id="flowers-1")
    assert result.as_numpy("label").tolist() == [0, 2]
    assert result.as_numpy("probabilities").sum(axis=1) == pytest.approx([1, 1])
    assert result.get_response()["id"] == "flowers-1"


def test_versions_differ(client: triton.InferenceServerClient) -> None:
    sure, surer = (
        client.infer("iris", [flowers()], model_version=version).as_numpy("probabilities").max()
        for version in ("1", "2")
    )
    assert sure < surer
    assert client.infer("iris", [flowers()]).get_response()["model_version"] == "2"


@pytest.mark.parametrize("binary", [True, False])
def test_texts_come_back(client: triton.InferenceServerClient, binary: bool) -> None:
    texts = np.array(["Grüße".encode(), b"", b"b"], dtype=np.object_)
    outputs = [triton.InferRequestedOutput("echo", binary_data=binary)]
    result = client.infer("echo", [tensor("text", texts, "BYTES", binary=binary)], outputs=outputs)
    assert [_text(text) for text in result.as_numpy("echo")] == ["Grüße", "", "b"]


@pytest.mark.parametrize("binary", [True, False])
def test_the_likeliest_classes(client: triton.InferenceServerClient, binary: bool) -> None:
    outputs = [
        triton.InferRequestedOutput("label", binary_data=binary),
        triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2),
    ]
    result = client.infer("iris", [flowers()], model_version="1", outputs=outputs)
    classes = [[_text(text) for text in row] for row in result.as_numpy("probabilities")]
    assert [[text.partition(":")[2] for text in row] for row in classes] == [["0", "1"], ["2", "1"]]
    assert float(classes[0][0].partition(":")[0]) == pytest.approx(0.9818, abs=1e-4)
    assert result.as_numpy("label").tolist() == [0, 2]


def test_texts_have_no_classes(client: triton.InferenceServerClient) -> None:
    texts = tensor("text", np.array([b"a"], dtype=np.object_), "BYTES")
    with pytest.raises(InferenceServerException, match="cannot be classified"):
        client.infer("echo", [texts], outputs=[triton.InferRequestedOutput("echo", class_count=2)])


def test_halves_are_binary_only(client: triton.InferenceServerClient) -> None:
    whole = tensor("whole", [[1, 5]], "FP16")
    assert client.infer("halve", [whole]).as_numpy("half").tolist() == [[0.5, 2.5]]
    with pytest.raises(InferenceServerException, match="FP16"):
        client.infer("halve", [whole], outputs=[triton.InferRequestedOutput("half", binary_data=False)])


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("nothing", flowers(), "unknown model 'nothing'"),
        ("iris", tensor("petals", [SETOSA], "FP32"), "iris takes"),
        ("iris", tensor("features", [SETOSA], "FP64"), "iris takes"),
        ("iris", tensor("features", [[1, 2, 3]], "FP32"), "iris takes"),
    ],
)
def test_what_it_refuses(
    client: triton.InferenceServerClient, model: str, given: triton.InferInput, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message):
        client.infer(model, [given])


def _text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode()
