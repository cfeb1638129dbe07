"""Inference by the Open Inference Protocol, version 2, over REST: as JSON and with binary tensors.

What is keyed: the version that the path names, and everything that the JSON says but `id`, with the SHA-256 of
each binary tensor. A tensor sent as JSON and the same tensor sent as bytes are two keys: what the server makes of
a text of numbers, and the form of its answer, are its own affair. The order of inputs counts, too. Whatever `id` a
client gives stays here: upstream is asked without one, and the answer is stamped with each caller's own.

Usage is what the model's metering rule says, else 1 unit a call: tensors have no tokens.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from cacheproxy.protocols import document
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.oip import tensors
from cacheproxy.protocols.oip.body import JSON_LENGTH, Parts, put_together, stamped, take_apart
from cacheproxy.protocols.oip.tensors import MalformedTensor
from cacheproxy.protocols.request import (
    CONTENT_TYPE,
    Answer,
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    JsonDialect,
    UpstreamCall,
)
from cacheproxy.protocols.rounding import rounded, rounded_bytes
from cacheproxy.protocols.sse import frame
from metering.provider_usage import UsageReport

MAX_TENSORS = 256
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_SHARED_MEMORY = "shared_memory_region"


class Question(NamedTuple):
    """What is asked: the JSON without its `id`, and the bytes of each tensor that comes after it.

    A raw request has no JSON, and all its bytes are one tensor's.
    """

    fields: dict[str, Any] | None
    binary: tuple[memoryview, ...] = ()
    mixed: bool = False


class InferDialect(JsonDialect):
    """OIP's `infer`."""

    protocol = "oip"
    surface = "infer"
    read_headers = (JSON_LENGTH,)
    kept_headers = (CONTENT_TYPE, JSON_LENGTH)

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return the request, its tensors checked. Model and version are in the path, `id` is the stamp."""
        if not incoming.model:
            raise InvalidRequest("The path names no model.", code="missing_field", param="model")
        try:
            parts = take_apart(incoming.body, incoming.headers)
        except ValueError as problem:
            raise _invalid(str(problem), JSON_LENGTH.decode()) from problem
        question, stamp = _question(parts)
        return InferenceRequest(
            model=incoming.model, version=incoming.version, document=question, stamp=stamp
        )

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of the version, of all fields but the volatile ones, and of the bytes' digests."""
        question: Question = request.document
        digests = [sha256(content).hexdigest() for content in question.binary]
        fields = document.without(question.fields, volatile_fields)
        return document.canonical([request.version, fields, digests])

    def rounded(self, request: InferenceRequest, digits: int) -> InferenceRequest:
        """Return the request with the elements of its inputs rounded, in the JSON and after it."""
        question: Question = request.document
        if question.fields is None:
            return request
        waiting = iter(question.binary)
        inputs, binary = [], []
        for tensor in question.fields["inputs"]:
            if "data" in tensor:
                inputs.append({**tensor, "data": rounded(tensor["data"], digits)})
            else:
                inputs.append(tensor)
                binary.append(rounded_bytes(next(waiting), tensor["datatype"], digits))
        fields = {**question.fields, "inputs": inputs}
        return msgspec.structs.replace(request, document=Question(fields, tuple(binary), question.mixed))

    def visible(self, request: InferenceRequest) -> Any:
        """Return the JSON; null for a raw request."""
        return request.document.fields

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request for the upstream's own model, in the version asked for."""
        question: Question = request.document
        json = b"" if question.fields is None else document.write(question.fields)
        headers, body = put_together(json, question.binary, mixed=question.mixed)
        return UpstreamCall(f"{model_path(upstream_model, request.version)}/infer", body, headers)

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether the request stands for itself: it is no part of a sequence."""
        fields = request.document.fields or {}
        parameters = fields.get("parameters") or {}
        return not any(parameters.get(field) for field in _SEQUENCE)

    def read(self, request: InferenceRequest, answer: Answer) -> Any:
        """Return the answer's JSON.

        Raises:
            ValueError: it is none, or the bytes after it are not those that it speaks of.
        """
        parts = take_apart(answer.body, dict(answer.headers))
        fields = document.read(bytes(parts.json))
        outputs = fields.get("outputs") if isinstance(fields, dict) else None
        listed = outputs if isinstance(outputs, list) else []
        described = [output for output in listed if isinstance(output, dict)]
        tensors.cut(parts.binary, [tensors.binary_size(output) or 0 for output in described])
        return fields

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether the answer has outputs, all that were asked for, and names no error."""
        if not isinstance(answer, dict) or answer.get("error"):
            return False
        outputs = answer.get("outputs")
        if not isinstance(outputs, list) or not outputs:
            return False
        given = [output.get("name") if isinstance(output, dict) else None for output in outputs]
        asked = (request.document.fields or {}).get("outputs") or ()
        return None not in given and all(output["name"] in given for output in asked)

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else 1 unit for an answer."""
        if metering:
            return apply_rules(metering, request=request.document.fields, answer=answer, body_size=body_size)
        return UsageReport(units=1) if self.is_answer(request, answer) else None

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return nothing: there is no text to estimate from."""
        return UsageReport()

    def give(self, request: InferenceRequest, answer: Answer) -> Answer:
        """Return the answer under the request's own `id`, if it has one."""
        return answer if request.stamp is None else stamped(answer, request.stamp)

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return OIP's error, a text, with our code and the field at fault beside it."""
        return document.write({"error": message, "code": code, "param": param})

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the error as an event."""
        return frame(self.error(status=status, code=code, message=message, param=None))


def model_path(model: str, version: str) -> str:
    """Return the path of a model, of one version where one is named."""
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _question(parts: Parts) -> tuple[Question, str | None]:
    """Return what is asked, and under which id."""
    if parts.mixed and not parts.json:
        if not parts.binary:
            raise _invalid("a raw request needs bytes", "inputs")
        return Question(None, (parts.binary,), mixed=True), None
    fields = document.read(bytes(parts.json))
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    stamp = fields.pop("id", None)
    if not isinstance(stamp, str | None):
        raise _invalid("id must be a text", "id")
    binary = _inputs(fields, parts.binary)
    _check_outputs(fields)
    _object(fields, "parameters")
    return Question(fields, binary, mixed=parts.mixed), stamp or None


def _inputs(fields: Mapping[str, Any], content: memoryview) -> tuple[memoryview, ...]:
    """Return the bytes of each binary input, all inputs checked."""
    inputs = _named(fields, "inputs")
    if not inputs:
        raise InvalidRequest("inputs must be a non-empty list.", code="missing_field", param="inputs")
    try:
        sizes = [tensors.binary_size(tensor) for tensor in inputs]
        pieces = tensors.cut(content, [size for size in sizes if size is not None])
    except MalformedTensor as problem:
        raise _invalid(str(problem), f"inputs.{problem.field}") from problem
    waiting = iter(pieces)
    for place, (tensor, size) in enumerate(zip(inputs, sizes, strict=True)):
        try:
            _check_input(tensor, None if size is None else next(waiting))
        except MalformedTensor as problem:
            raise _invalid(str(problem), f"inputs.{place}.{problem.field}") from problem
    return pieces


def _check_input(tensor: Mapping[str, Any], content: memoryview | None) -> None:
    elements = tensors.check_form(tensor)
    if content is None:
        tensors.check_data(tensor, elements)
    elif "data" in tensor:
        raise MalformedTensor(f"{tensor['name']} has data twice", "data")
    else:
        tensors.check_bytes(tensor, elements, content)


def _check_outputs(fields: Mapping[str, Any]) -> None:
    for place, output in enumerate(_named(fields, "outputs")):
        if not isinstance(output.get("name"), str):
            raise _invalid("an output needs a name", f"outputs.{place}.name")
        _object(output, "parameters")


def _named(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of tensors, none of which may lie in the server's memory, nor share its name with another."""
    listed = fields.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(tensor, dict) for tensor in listed):
        raise _invalid(f"{name} must be a list of objects", name)
    names = [tensor.get("name") for tensor in listed]
    if len(names) > MAX_TENSORS or any(names.count(given) > 1 for given in names):
        raise _invalid(f"{name} must be at most {MAX_TENSORS}, each under a name of its own", name)
    for place, tensor in enumerate(listed):
        parameters = tensor.get("parameters")
        if isinstance(parameters, dict) and parameters.get(_SHARED_MEMORY) is not None:
            raise _invalid(
                "the server's shared memory is not to be had from here", f"{name}.{place}.parameters"
            )
    return listed


def _object(holder: Mapping[str, Any], name: str) -> None:
    if not isinstance(holder.get(name), dict | None):
        raise _invalid(f"{name} must be an object", name)


def _invalid(problem: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"This cannot be inferred: {problem}.", code="invalid_field", param=param)


DIALECT: Dialect = InferDialect()
