"""What the surfaces of the `anthropic` protocol share: headers that go along, fields and errors alike."""

import re
from collections.abc import Sequence
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.anthropic.errors import anthropic_error
from cacheproxy.protocols.openai.fields import checked, model_of, read_object
from cacheproxy.protocols.request import JSON, Incoming, InferenceRequest, JsonDialect, UpstreamCall
from cacheproxy.protocols.sse import named_frame

_OUT_OF_KEY = frozenset({"model", "stream", "metadata"})
"""Fields that never decide an answer. `service_tier` does: the answer names the tier that computed it."""
_STATEFUL = (
    "container",
    "mcp_servers",
    "thread",
    "diagnostics",  # compares the call with an earlier one
    "fallback_credit_token",  # is good for one call
)
_CLIENT_TOOLS = re.compile(r"custom|(?:bash|text_editor|memory)_\d{8}")
"""Tools run by the client. Any other runs on the server, or looks at a screen that no key can hold."""


class AnthropicDialect(JsonDialect):
    """What Anthropic's surfaces share. Requests and answers pass with every field, known or not."""

    protocol = "anthropic"
    identity = ("id",)
    read_headers = (b"anthropic-version", b"anthropic-beta")
    id_header = b"request-id"
    path = ""

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return the request. The model is in the body; the API's version and betas are in headers."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        checked(fields, "messages", list, "a non-empty list")
        given = incoming.headers
        headers = tuple([(name, given[name]) for name in self.read_headers if name in given])
        return InferenceRequest(model=model, document=fields, headers=headers)

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of the headers and of all fields that decide. The betas' order means nothing."""
        deciding = {field: value for field, value in request.document.items() if field not in _OUT_OF_KEY}
        headers = {name.decode(): sorted(_listed(value)) for name, value in request.headers}
        return document.canonical([headers, document.without(deciding, volatile_fields)])

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model, with the client's version and betas."""
        body = document.write({**request.document, "model": upstream_model})
        return UpstreamCall(self.path, body, (JSON, *request.headers))

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether no server-side state, search or tool is involved."""
        fields = request.document
        tools = fields.get("tools") or []
        stateless = not any(fields.get(field) for field in _STATEFUL)
        return stateless and isinstance(tools, list) and all(map(_runs_at_the_client, tools))

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return Anthropic's error body."""
        return anthropic_error(status=status, code=code, message=message, param=param)

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the error as an event, which Anthropic's clients raise."""
        return named_frame("error", self.error(status=status, code=code, message=message, param=None))


def models_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the models as Anthropic lists them, on one page. When they were made, nobody here knows."""
    models = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        for name in names
    ]
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
    return {"data": models, "has_more": False, **ends}


def _listed(value: bytes) -> set[str]:
    """Return the words of a header that is a list; each counts once."""
    return {word for part in value.decode("latin-1").split(",") if (word := part.strip())}


def _runs_at_the_client(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else ""
    return kind is None or (isinstance(kind, str) and _CLIENT_TOOLS.fullmatch(kind) is not None)
