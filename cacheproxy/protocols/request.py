"""What every dialect understands: a request, an upstream call, an answer, a dialect, a stream being read.

A dialect is the whole knowledge of one surface of one wire format: which bytes mean the same request, what goes
upstream, what a complete answer is, what it used, and how errors and streams look. It does no input or output
and holds no state, so one object serves all calls; a `StreamReader` is the state of one stream, a `Batch` one
request taken apart into the items that it asks for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from metering.provider_usage import UsageReport

Header = tuple[bytes, bytes]
CONTENT_TYPE = b"content-type"
JSON: Header = (CONTENT_TYPE, b"application/json")
EVENT_STREAM: Header = (CONTENT_TYPE, b"text/event-stream")


class InvalidRequest(ValueError):
    """The client sent what no upstream could answer. `param` names the field, where there is one.

    Codes: `invalid_json`, `invalid_form`, `missing_field`, `invalid_field`.
    """

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class Incoming(NamedTuple):
    """A request as it came in. `model` and `version` are what the path names, where it names them."""

    body: bytes
    headers: Mapping[bytes, bytes] = {}
    model: str = ""
    version: str = ""


class InferenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as understood."""

    model: str
    """The name that customers use."""
    document: Any
    """What the body says, parsed; shared and never changed."""
    stream: bool = False
    wants_usage: bool = False
    """Whether the client asked for a usage chunk at the end of its stream."""
    version: str = ""
    """Of the model, where the path names one."""
    headers: tuple[Header, ...] = ()
    """The client's headers that go upstream; those that decide the answer are in the key."""
    stamp: Any = None
    """The client's own id for this request, to stand on its answer whoever it was computed for."""

    @property
    def takes_answers_as_kept(self) -> bool:
        """Whether a stored answer can be given as it is, unstreamed and unstamped."""
        return not self.stream and self.stamp is None


class UpstreamCall(NamedTuple):
    """What to send: `path` is appended to the upstream's url."""

    path: str
    body: bytes
    headers: tuple[Header, ...] = (JSON,)
    method: str = "POST"


class Answer(NamedTuple):
    """A whole answer: the headers that belong to it (its content type, what the dialect keeps), and its body."""

    headers: tuple[Header, ...]
    body: bytes


class Wording(NamedTuple):
    """A request taken apart into the one text that may be worded otherwise, and all the rest."""

    text: str
    """What its last turn says, which is the user's."""
    rest: InferenceRequest
    """The request with null in that text's place: equal for two requests that differ in nothing else."""


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


class Batch(Protocol):
    """A request for several items, each of which could have been asked for alone."""

    @property
    def items(self) -> Sequence[InferenceRequest]:
        """The request for each item alone, in order; its canonical form is the item's key."""

    def asking(self, places: Sequence[int]) -> InferenceRequest:
        """Return the request for the items at these places alone, in this order."""

    def split(self, places: Sequence[int], answer: Any) -> list[bytes]:
        """Return the plain answer of each item from the parsed answer to `asking(places)`, in that order.

        Raises:
            ValueError: the answer does not have one part for each item.
        """

    def weights(self, places: Sequence[int]) -> list[int]:
        """Return by what share each item takes part in the usage of them all; each is at least 1."""

    def join(self, answers: Sequence[bytes], usage: UsageReport) -> bytes:
        """Return one answer from every item's, in the request's order, that reports `usage` in all."""


class Dialect(Protocol):
    """One surface of one wire format."""

    @property
    def protocol(self) -> str:
        """The protocol's name in the catalog: a model whose upstreams speak it can be called here."""

    @property
    def surface(self) -> str:
        """The surface's name, as `chat.completions`: in the key, in metrics and in logs."""

    @property
    def read_headers(self) -> tuple[bytes, ...]:
        """Headers of a request that, beside its body, decide what it means."""

    @property
    def kept_headers(self) -> tuple[bytes, ...]:
        """Headers of an answer without which it could not be read."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Fields of an answer's document that say which computation it came from, and when."""

    @property
    def default_temperature(self) -> float | None:
        """At which a request is sampled that names no temperature; None where answers are not sampled."""

    @property
    def id_header(self) -> bytes:
        """Where the protocol's clients look for the request id; b"" where `x-request-id` is their place, too."""

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return what is asked.

        Raises:
            InvalidRequest: a field that this dialect must understand is missing or malformed.
        """

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return one spelling of all in the request that decides its answer.

        Unknown parameters are in it; the model (the key has it anyway), fields that never decide an answer,
        and the model's volatile fields (paths, see `document.py`) are not.
        """

    def rounded(self, request: InferenceRequest, digits: int) -> InferenceRequest:
        """Return the request to be keyed where a policy rounds: its inputs' floats with so many decimal places."""

    def about_file(self, request: InferenceRequest, field: str) -> InferenceRequest:
        """Return the request to be keyed where a policy says which field is its file, in whatever form that came."""

    def visible(self, request: InferenceRequest) -> Any:
        """Return the request as the paths of a policy see it: JSON, and what else it holds by its digest."""

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the call that puts this request to the upstream.

        The body is written from the parsed document, never passed on as it came: of a repeated field, parsers
        keep the first or the last, so only what was understood (and keyed, and will be metered) may be asked.
        """

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether the answer depends on the request alone: no stored state, no search."""

    def is_addressed(self, request: InferenceRequest) -> bool:
        """Return whether a client may go on from the answer's ids, which then have to be its own."""

    def wording(self, request: InferenceRequest) -> Wording | None:
        """Return the request as a question that may be worded otherwise.

        None where its last turn is not the user's or not one plain text, or where the surface has no turns.
        """

    def said(self, answer: Any) -> str:
        """Return in words what this (a parsed answer, complete) says, to be compared with another; "" for nothing."""

    def output_limit(self, request: InferenceRequest) -> int | None:
        """Return the tokens that the answer may have at most in all, where the request says so."""

    def batch(self, request: InferenceRequest, pointer: str | None) -> Batch | None:
        """Return the request as a batch, or None where it asks for one thing.

        `pointer` (JSON Pointer) names the list of items where the dialect cannot know it; None for no list.
        """

    def read(self, request: InferenceRequest, answer: Answer) -> Any:
        """Return an upstream's answer, parsed, for the methods below.

        Raises:
            ValueError: this is no answer of this surface, whatever its status says.
            RecursionError: it is nested too deeply.
        """

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether this (a parsed answer) is complete and successful, fit to be kept."""

    def lasts(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether this (a parsed answer, complete) stays as good as it is while it is kept."""

    def endings(self, answer: Any) -> Collection[str]:
        """Return why this (a parsed answer, complete) ended, as its provider says for each of its parts."""

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
        """Return a reckoned usage for an answer without a report: bytes of UTF-8 text / 4, rounded up.

        Without an answer (None) it is the request's own part.
        """

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return an error body in the protocol's own shape, as JSON."""

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the event that ends a stream which has begun and cannot go on."""

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader for this request's stream."""

    def give(self, request: InferenceRequest, answer: Answer) -> Answer:
        """Return a plain answer, kept or fresh, as this request wants it: as a whole stream, or stamped.

        What `takes_answers_as_kept` need not come here.
        """


class JsonDialect:
    """What dialects share whose answers are JSON and never streamed. Others override what is not so."""

    protocol = "openai"
    surface = ""
    read_headers: tuple[bytes, ...] = ()
    kept_headers: tuple[bytes, ...] = (CONTENT_TYPE,)
    identity: tuple[str, ...] = ()
    default_temperature: float | None = None
    id_header = b""

    def rounded(self, request: InferenceRequest, digits: int) -> InferenceRequest:
        """Return the request as it is: it has no numbers that nearly agree."""
        return request

    def about_file(self, request: InferenceRequest, field: str) -> InferenceRequest:
        """Return the request as it is: the surface says itself what is a file."""
        return request

    def visible(self, request: InferenceRequest) -> Any:
        """Return the document."""
        return request.document

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return True: the answer depends on the request, or its model's cache is off."""
        return True

    def is_addressed(self, request: InferenceRequest) -> bool:
        """Return False: ids are for logs only."""
        return False

    def wording(self, request: InferenceRequest) -> Wording | None:
        """Return None: the surface has no turns."""
        return None

    def said(self, answer: Any) -> str:
        """Return nothing: what the surface answers is no text that could be worded otherwise."""
        return ""

    def output_limit(self, request: InferenceRequest) -> int | None:
        """Return None: the surface has no such field."""
        return None

    def batch(self, request: InferenceRequest, pointer: str | None) -> Batch | None:
        """Return None: the surface has no items."""
        return None

    def read(self, request: InferenceRequest, answer: Answer) -> Any:
        """Return what the JSON says."""
        return msgspec.json.decode(answer.body)

    def lasts(self, request: InferenceRequest, answer: Any) -> bool:
        """Return True: what was said stays said."""
        return True

    def endings(self, answer: Any) -> Collection[str]:
        """Return nothing: the surface has no such field."""
        return ()

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Raise TypeError: no request of this dialect asks for a stream."""
        raise TypeError(f"answers of {self.surface} are not streamed")

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return a plain answer as a stream's events, the closing one alone at the end."""
        raise TypeError(f"answers of {self.surface} are not streamed")

    def give(self, request: InferenceRequest, answer: Answer) -> Answer:
        """Return the answer as it is, or as a stream where the request asks for one."""
        if not request.stream:
            return answer
        return Answer((EVENT_STREAM,), b"".join(self.replay(request, answer.body)))
