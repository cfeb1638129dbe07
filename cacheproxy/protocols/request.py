"""What every dialect understands: a request, an upstream call, a dialect, a stream being read.

A dialect is the whole knowledge of one wire format: which bytes mean the same request, what goes upstream,
what a complete answer is, what it used, and how errors and streams look. It does no input or output and holds
no state, so one object serves all calls; a `StreamReader` is the state of one stream.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from metering.provider_usage import UsageReport


class InvalidRequest(ValueError):
    """The client sent what no upstream could answer. `param` names the field, where there is one.

    Codes: `invalid_json`, `missing_field`, `invalid_field`.
    """

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class InferenceRequest(msgspec.Struct, frozen=True):
    """A request as understood. `document` is the parsed body, shared and never changed."""

    surface: str
    """`chat.completions`, `embeddings` or `predict`."""
    model: str
    """The name that customers use."""
    stream: bool
    wants_usage: bool
    """Whether the client asked for a usage chunk at the end of its stream."""
    document: Any


class UpstreamCall(NamedTuple):
    """What to post: `path` is appended to the upstream's url."""

    path: str
    body: bytes


class StreamReader(Protocol):
    """Reads one upstream stream beside its way to the client."""

    @property
    def finished(self) -> bool:
        """Whether the stream's closing event has come."""

    def feed(self, chunk: bytes) -> bytes:
        """Return what may go to the client now: the upstream's own bytes, up to the last complete event.

        Left out are a usage chunk that the client did not ask for, and the closing event, which `tail`
        returns.
        """

    def tail(self) -> bytes:
        """Return the held-back end, to be sent once the upstream has ended and the call is recorded."""

    def answer(self) -> bytes | None:
        """Return the whole stream as a plain answer, or None if it was cut short, failed or made no sense."""

    def so_far(self) -> dict[str, Any]:
        """Return the plain answer as far as it came, to be metered when it stays incomplete."""


class Dialect(Protocol):
    """One wire format."""

    @property
    def name(self) -> str:
        """The protocol's name in the catalog."""

    def parse(self, surface: str, body: bytes, model: str | None) -> InferenceRequest:
        """Return the request that the body says; `model` comes from the path, where the dialect has it.

        Raises:
            InvalidRequest: not JSON, or a field that this dialect must understand is missing or malformed.
        """

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return one spelling of all in the request that decides its answer.

        Unknown parameters are in it; the model (the key has it anyway), fields that never decide an answer,
        and the model's volatile fields (JSON Pointers) are not.
        """

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the call that puts this request to the upstream.

        The body is written from the parsed document, never passed on as it came: of a repeated field, parsers
        keep the first or the last, so only what was understood (and keyed, and will be metered) may be asked.
        """

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether the answer depends on the request alone: no stored state, no search."""

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether this (a parsed JSON body) is a complete and successful answer, fit to be kept."""

    def usage(
        self,
        request: InferenceRequest,
        answer: Any,
        metering: Mapping[str, Any],
        body_size: int,
    ) -> UsageReport | None:
        """Return what the answer reports, or None where it reports nothing.

        `metering` is the model's metering rule, {} for none; `body_size` the bytes of the client's body.

        Raises:
            UsageMismatch: the report contradicts itself, or the rule.
        """

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return a reckoned usage for an answer without a report: bytes of UTF-8 text / 4, rounded up."""

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return an error body in the protocol's own shape."""

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader for this request's stream."""

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return a stored plain answer as a stream's chunks; the last is the closing event alone."""
