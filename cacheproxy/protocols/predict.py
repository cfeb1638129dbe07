"""The `predict` protocol: anything in, anything out (LitServe, Paddle Serving). The model stands in the path.

A request is what its content type says: a form (`multipart/form-data`), raw bytes (an image, sound, a PDF), else
a JSON document. Nothing in it is ours: everything decides the answer but the fields, of a document or a form,
that the model's policy calls volatile. Files and raw bytes count by their content and its type; what a file or
a form's boundary is called decides nothing. A form with files asks for the same as a document of the same names
and texts whose files are data URLs (`contents.py`).

An answer is JSON, or bytes of any other type than a web page, which is a server's way of failing. Usage is a
JSON answer's `usage` object by default: `input_tokens` and `output_tokens`, either of which may be missing for
none, or any shape that `metering.provider_usage.report` knows, such as OpenAI's or Anthropic's. A metering rule
takes its place; its pointers see a form as an object with the list of each name's values. Errors have OpenAI's
shape, for predict servers share none.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from cacheproxy.protocols import contents, document, estimate, multipart
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.multipart import Form
from cacheproxy.protocols.openai.errors import openai_error
from cacheproxy.protocols.predict_batch import predict_batch
from cacheproxy.protocols.request import (
    Answer,
    Batch,
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    JsonDialect,
    UpstreamCall,
)
from cacheproxy.protocols.rounding import rounded
from cacheproxy.protocols.sse import frame
from metering import provider_usage
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_CONTENT_TYPE = b"content-type"
_SAID_OF_JSON = frozenset({b"", b"text/plain", b"application/x-www-form-urlencoded"})
"""What clients say of JSON that know no better: nothing, as `fetch` does, as `curl -d` does."""
_WEB_PAGES = frozenset({b"text/html", b"application/xhtml+xml"})
_PAIRS = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))
_FAILURES = (
    "error",
    "err_no",
    "errorCode",
)  # the last two are Paddle's, which answers failures with 200 and a number


class Raw(NamedTuple):
    """A body that is one file."""

    content_type: bytes
    content: bytes


class AboutFile(NamedTuple):
    """A request as it is keyed where its file counts by content alone."""

    digest: bytes
    rest: Any
    """All else that it says, as it is keyed."""


class PredictDialect(JsonDialect):
    """Any document, form or file, unstreamed."""

    protocol = "predict"
    surface = "predict"
    read_headers = (_CONTENT_TYPE,)

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return the document, whatever it is: a `Form`, `Raw` bytes, or JSON. The model is in the path."""
        if not incoming.model:
            raise InvalidRequest("The path names no model.", code="missing_field", param="model")
        return InferenceRequest(model=incoming.model, document=_read(incoming))

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of the document or form without its volatile fields, or the bytes' digest."""
        said = request.document
        if isinstance(said, AboutFile):
            return b"file " + said.digest + document.canonical(document.without(said.rest, volatile_fields))
        if isinstance(said, Raw):
            return b"raw " + said.content_type + b" " + sha256(said.content).digest()
        if not isinstance(said, Form):
            return contents.canonical(document.without(said, volatile_fields))
        deciding = document.without(_described(said), volatile_fields)
        if not said.files:
            return b"form " + document.canonical(deciding)
        return document.canonical({name: _keyed(values) for name, values in deciding.items()})

    def rounded(self, request: InferenceRequest, digits: int) -> InferenceRequest:
        """Return the document with its floats rounded; a form, or raw bytes, as they are."""
        said = request.document
        if isinstance(said, Form | Raw):
            return request
        return msgspec.structs.replace(request, document=rounded(said, digits))

    def about_file(self, request: InferenceRequest, field: str) -> InferenceRequest:
        """Return raw bytes, a form's one file of that name, or a document's text in base64, beside the rest."""
        said = request.document
        if isinstance(said, Raw):
            about: AboutFile | None = _about(said.content, {})
        else:
            about = (_about_file_of if isinstance(said, Form) else _about_text_of)(said, field)
        return request if about is None else msgspec.structs.replace(request, document=about)

    def visible(self, request: InferenceRequest) -> Any:
        """Return the document; a form as an object with the list of each name's values; null for raw bytes."""
        said = request.document
        if isinstance(said, Form):
            return _described(said)
        return None if isinstance(said, Raw) else said

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the document for the upstream's own url: JSON or a form written anew, raw bytes as they came."""
        said = request.document
        if isinstance(said, Form):
            header, body = multipart.write_form(said)
            return UpstreamCall("", body, (header,))
        if isinstance(said, Raw):
            return UpstreamCall("", said.content, ((_CONTENT_TYPE, said.content_type),))
        return UpstreamCall("", document.write(said))

    def read(self, request: InferenceRequest, answer: Answer) -> Any:
        """Return what the JSON says; of an answer of another type its text, or its bytes.

        Raises:
            ValueError: it is a web page, or not the JSON that it says it is.
        """
        kind = _media_type(dict(answer.headers).get(_CONTENT_TYPE, b""))
        if kind in _WEB_PAGES:
            raise ValueError("a web page is no answer")
        if _is_json(kind):
            return document.read(answer.body)
        return _text(answer.body) if kind.startswith(b"text/") else answer.body

    def batch(self, request: InferenceRequest, pointer: str | None) -> Batch | None:
        """Return the items of the list that the model's policy names; None without one, and for forms and raw bytes."""
        is_json = not isinstance(request.document, Form | Raw)
        return predict_batch(request, pointer) if pointer is not None and is_json else None

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether the answer names no failure; of bytes, whether there are any."""
        if isinstance(answer, bytes):
            return bool(answer)
        return not (isinstance(answer, dict) and any(answer.get(field) for field in _FAILURES))

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else the answer's `usage`, else None."""
        if metering:
            return apply_rules(metering, request=self.visible(request), answer=answer, body_size=body_size)
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if not isinstance(usage, dict):
            return None
        for pair in _PAIRS:
            if any(field in usage for field in pair):
                usage = dict.fromkeys(pair, 0) | usage
        return provider_usage.report(usage) if any(pair[0] in usage for pair in _PAIRS) else None

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return bytes of JSON / 4, rounded up: what is text in a document of any shape, nobody knows.

        Files and raw bytes count nothing, for their size says little about their tokens; of a form, its text
        fields count. Models for these want a metering rule.
        """
        given, output = map(_tokens, (request.document, answer))
        return UsageReport(TokenPools(input=given, output=output))

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return an error body in OpenAI's shape."""
        return openai_error(status=status, code=code, message=message, param=param)

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the error as an event."""
        return frame(self.error(status=status, code=code, message=message, param=None))


def _read(incoming: Incoming) -> Any:
    if multipart.is_form(incoming):
        return multipart.read_form(incoming)
    content_type = incoming.headers.get(_CONTENT_TYPE, b"")
    kind = _media_type(content_type)
    if kind in _SAID_OF_JSON or _is_json(kind):
        return document.read(incoming.body)
    return Raw(content_type, incoming.body)


def _media_type(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


def _is_json(kind: bytes) -> bool:
    """Return whether a media type is JSON's; of an answer without one, nothing else is expected."""
    return not kind or kind in (b"application/json", b"text/json") or kind.endswith(b"+json")


def _text(body: bytes) -> Any:
    """Return a text, or the JSON that it is after all."""
    try:
        return document.read(body)
    except ValueError:
        return body.decode(errors="replace")


def _described(form: Form) -> dict[str, list[Any]]:
    """Return the form as JSON: for each name its texts, and its files as content type and SHA-256 in hex."""
    described: dict[str, list[Any]] = {}
    for name, text in form.fields:
        described.setdefault(name, []).append(text)
    for file in form.files:
        known_by = {"type": file.content_type, "sha256": sha256(file.content).hexdigest()}
        described.setdefault(file.name, []).append(known_by)
    return described


def _about(content: bytes | memoryview, rest: Any) -> AboutFile:
    return AboutFile(sha256(content).digest(), rest)


def _about_file_of(form: Form, field: str) -> AboutFile | None:
    """Return the form as being about its file; None unless the field is one file."""
    files = [file for file in form.files if file.name == field]
    if len(files) != 1 or form.values(field):
        return None
    rest = {name: _keyed(values) for name, values in _described(form).items() if name != field}
    return _about(files[0].content, rest)


def _about_text_of(said: Any, field: str) -> AboutFile | None:
    """Return the document as being about its file; None unless the field is a text in base64."""
    text = said.get(field) if isinstance(said, dict) else None
    content = contents.decoded(text) if isinstance(text, str) else None
    if content is None:
        return None
    return _about(content, {name: contents.keyed(value) for name, value in said.items() if name != field})


def _keyed(values: Any) -> Any:
    """Return a form's values as a document has them: one alone without a list, a file as the data URL of it."""
    if not isinstance(values, list):
        return values
    keyed = [_keyed_value(value) for value in values]
    return keyed[0] if len(keyed) == 1 else keyed


def _keyed_value(value: Any) -> Any:
    if isinstance(value, dict):
        return contents.keyed_file(value["type"], value["sha256"])
    return contents.keyed(value)


def _tokens(value: Any) -> int:
    if isinstance(value, Form):
        return estimate.rounded_up(sum(len(text.encode()) for _, text in value.fields))
    if isinstance(value, Raw | bytes):
        return 0
    return estimate.rounded_up(len(document.write(value)))


DIALECT: Dialect = PredictDialect()
