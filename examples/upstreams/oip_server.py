"""A real Open Inference Protocol (v2) server: ONNX Runtime behind aiohttp, JSON and binary tensors.

    python -m examples.upstreams.oip_server --port 9102 [--models FOLDER]

Without a folder it builds the models of `examples.upstreams.oip_models` and serves those. It speaks as Triton does:
outputs are JSON unless `binary_data` or `binary_data_output` ask for bytes, the parameter `classification: N` of an
output asks for the N largest values of each row in its place, a raw request (a JSON length of 0) is the one input of a
model and is answered in bytes, the highest version answers where none is named, and errors are `{"error": "…"}`.
"""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from aiohttp import web

from examples.upstreams import loopback, oip_models
from examples.upstreams.oip_tensors import ONNX_TYPES, Array, from_bytes, from_json, largest, to_bytes

JSON_LENGTH = "Inference-Header-Content-Length"
MAX_BODY_BYTES = 64 * 2**20


class Refused(Exception):
    """A request that cannot be served: its HTTP status and why."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Model:
    """One version of a model."""

    def __init__(self, name: str, version: str, path: Path) -> None:
        self.name = name
        self.version = version
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.inputs = [_described(value) for value in self.session.get_inputs()]
        self.outputs = [_described(value) for value in self.session.get_outputs()]


class Question(NamedTuple):
    """What is asked of a model."""

    fields: Mapping[str, Any]
    inputs: Mapping[str, Array]
    raw: bool


class Server:
    """The models in a folder (``{name}/{version}/model.onnx``) behind the protocol's paths."""

    def __init__(self, folder: Path) -> None:
        self.models: dict[str, dict[str, Model]] = {}
        for path in sorted(folder.glob("*/*/model.onnx")):
            name, version = path.parts[-3:-1]
            self.models.setdefault(name, {})[version] = Model(name, version, path)

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_explain])
        application.router.add_get("/v2", self.metadata)
        for path in ("/v2/health/live", "/v2/health/ready"):
            application.router.add_get(path, self.healthy)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            application.router.add_get(path, self.model_metadata)
            application.router.add_get(f"{path}/ready", self.model_ready)
            application.router.add_post(f"{path}/infer", self.infer)
        return application

    async def metadata(self, _: web.Request) -> web.Response:
        """Answer what server this is."""
        return web.json_response({"name": "examples", "version": "1", "extensions": ["binary_tensor_data"]})

    async def healthy(self, _: web.Request) -> web.Response:
        """Answer that the server is up; it listens only once its models are loaded."""
        return web.Response()

    async def model_metadata(self, request: web.Request) -> web.Response:
        """Answer what the model takes and gives."""
        model = self._model(request)
        return web.json_response(
            {
                "name": model.name,
                "versions": sorted(self.models[model.name]),
                "platform": "onnxruntime_onnx",
                "inputs": model.inputs,
                "outputs": model.outputs,
            }
        )

    async def model_ready(self, request: web.Request) -> web.Response:
        """Answer that the model is loaded."""
        self._model(request)
        return web.Response()

    async def infer(self, request: web.Request) -> web.Response:
        """Answer what the model makes of the tensors."""
        model = self._model(request)
        question = _read(model, await request.read(), request.headers.get(JSON_LENGTH))
        names = _asked_for(model, question)
        outputs = await asyncio.to_thread(model.session.run, names, dict(question.inputs))
        return _answer(model, question, dict(zip(names, outputs, strict=True)))

    def _model(self, request: web.Request) -> Model:
        name, version = request.match_info["model"], request.match_info.get("version")
        versions = self.models.get(name, {})
        model = versions.get(version or max(versions, default="", key=int))
        if model is None:
            raise Refused(f"unknown model '{name}', version '{version or 'any'}'", status=404)
        return model


@web.middleware
async def _explain(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn what goes wrong into the protocol's errors."""
    try:
        response: web.StreamResponse = await handler(request)
    except Refused as problem:
        response = web.json_response({"error": str(problem)}, status=problem.status)
    except web.HTTPException as problem:
        response = web.json_response({"error": problem.reason}, status=problem.status)
    return response


def _read(model: Model, body: bytes, json_length: str | None) -> Question:
    if json_length == "0":
        return _raw(model, body)
    try:
        end = len(body) if json_length is None else int(json_length)
        fields = json.loads(body[:end])
        return Question(fields, _inputs(model, fields, body[end:]), raw=False)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise Refused(f"malformed request: {problem}") from problem


def _raw(model: Model, body: bytes) -> Question:
    """Read a body that is the one input of the model; a text is one element, numbers fill the batch."""
    if len(model.inputs) != 1:
        raise Refused(f"a raw request needs a model with one input; {model.name} has {len(model.inputs)}")
    (wanted,) = model.inputs
    content = len(body).to_bytes(4, "little") + body if wanted["datatype"] == "BYTES" else body
    try:
        tensor = from_bytes(content, wanted["datatype"], wanted["shape"])
    except ValueError as problem:
        raise Refused(f"malformed input: {problem}") from problem
    return Question({}, {wanted["name"]: tensor}, raw=True)


def _inputs(model: Model, fields: Mapping[str, Any], content: bytes) -> dict[str, Array]:
    wanted = {described["name"]: described for described in model.inputs}
    given, place = dict[str, Array](), 0
    for tensor in fields["inputs"]:
        name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        if (
            name not in wanted
            or datatype != wanted[name]["datatype"]
            or not _fits(shape, wanted[name]["shape"])
        ):
            raise ValueError(f"{model.name} takes {model.inputs}, not '{name}' of {datatype} {shape}")
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            given[name] = from_json(tensor["data"], datatype, shape)
        else:
            given[name] = from_bytes(content[place : place + size], datatype, shape)
            place += size
    if place != len(content) or given.keys() != wanted.keys():
        raise ValueError(f"{model.name} takes {model.inputs}, with as many bytes as they say")
    return given


def _fits(shape: list[int], wanted: list[int]) -> bool:
    return len(shape) == len(wanted) and all(
        size == most or most < 0 for size, most in zip(shape, wanted, strict=True)
    )


def _asked_for(model: Model, question: Question) -> list[str]:
    there = [output["name"] for output in model.outputs]
    names = [output["name"] for output in question.fields.get("outputs") or ()] or there
    if unknown := set(names) - set(there):
        raise Refused(f"{model.name} has no output {', '.join(sorted(unknown))}")
    return names


def _answer(model: Model, question: Question, outputs: Mapping[str, Array]) -> web.Response:
    described, parts = [], []
    datatypes = {output["name"]: output["datatype"] for output in model.outputs}
    for name, computed in outputs.items():
        count = _asked_of(question, name).get("classification")
        tensor = computed if count is None else _classes(name, computed, count)
        datatype = datatypes[name] if count is None else "BYTES"
        output = {"name": name, "datatype": datatype, "shape": list(tensor.shape)}
        if _wants_bytes(question, name):
            parts.append(to_bytes(tensor))
            described.append({**output, "parameters": {"binary_data_size": len(parts[-1])}})
        elif datatype == "FP16":
            raise Refused(f"'{name}' is FP16, which comes as binary data only")
        else:
            described.append({**output, "data": tensor.ravel().tolist()})
    fields = {"model_name": model.name, "model_version": model.version, "outputs": described}
    if "id" in question.fields:
        fields["id"] = question.fields["id"]
    text = json.dumps(fields).encode()
    if not parts:
        return web.Response(body=text, content_type="application/json")
    return web.Response(
        body=b"".join((text, *parts)),
        content_type="application/octet-stream",
        headers={JSON_LENGTH: str(len(text))},
    )


def _asked_of(question: Question, name: str) -> Mapping[str, Any]:
    outputs = question.fields.get("outputs") or ()
    return next((output.get("parameters", {}) for output in outputs if output["name"] == name), {})


def _wants_bytes(question: Question, name: str) -> bool:
    of_all = question.fields.get("parameters", {}).get("binary_data_output", question.raw)
    return bool(_asked_of(question, name).get("binary_data", of_all))


def _classes(name: str, tensor: Array, count: Any) -> Array:
    if not isinstance(count, int) or count < 1 or not np.issubdtype(tensor.dtype, np.number):
        raise Refused(f"'{name}' cannot be classified into {count} classes")
    return largest(tensor, count)


def _described(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return {"name": value.name, "datatype": ONNX_TYPES[value.type], "shape": shape}


def main() -> None:
    """Serve until told to stop."""
    parser = loopback.port_parser("Serve ONNX models by the Open Inference Protocol.", default=9102)
    parser.add_argument(
        "--models", type=Path, help="folder of {name}/{version}/model.onnx (default: small ones)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.models is None:
            oip_models.build(Path(folder))
        server = Server(options.models or Path(folder))
        print(f"OIP ready on http://{loopback.HOST}:{options.port}", flush=True)
        web.run_app(server.application(), host=loopback.HOST, port=options.port, print=None)


if __name__ == "__main__":
    main()
