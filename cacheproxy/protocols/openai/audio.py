"""Transcriptions and translations: sound becomes text.

The request is a form. Its key holds every field, and of the file the content alone. The answer is JSON, or text
of some kind where the request says so; a whole text goes to whoever asks for a stream as one event, and a stream
that was read is kept as JSON. So only where JSON is asked for do streams and plain answers share a key.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cacheproxy.protocols import document, multipart
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.multipart import Form
from cacheproxy.protocols.openai.fields import OUT_OF_KEY, OpenAIDialect, checked, objects
from cacheproxy.protocols.openai.stream import TypedReader
from cacheproxy.protocols.request import (
    EVENT_STREAM,
    Answer,
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    StreamReader,
    UpstreamCall,
)
from cacheproxy.protocols.sse import frame
from metering import provider_usage
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools

_TEXTS = ("text", "srt", "vtt")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_DELTA, _DONE, _SEGMENT = "transcript.text.delta", "transcript.text.done", "transcript.text.segment"
_CHUNK = "transcription.chunk"  # vLLM's, in the manner of chat


class AudioDialect(OpenAIDialect):
    """OpenAI's transcriptions, and its translations, which differ in nothing but the name."""

    read_headers = (b"content-type",)

    def __init__(self, name: str) -> None:
        self.surface = f"audio.{name}"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return an audio request; its document is the form. The model is a field of it."""
        form = multipart.read_form(incoming)
        model: str = checked({"model": form.value("model")}, "model", str, "a non-empty string")
        files = [file for file in form.files if file.name == "file"]
        if not files:
            raise InvalidRequest("file is required.", code="missing_field", param="file")
        if len(files) > 1 or not files[0].content:
            raise InvalidRequest("file must be one file, not empty.", code="invalid_field", param="file")
        return InferenceRequest(model=model, document=form, stream=_flag(form, "stream"))

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of all fields but `OUT_OF_KEY` and the volatile ones, and of the files' digests."""
        described = multipart.described(request.document)
        fields = {name: values for name, values in described["fields"].items() if name not in OUT_OF_KEY}
        streamed = request.stream and _format(request) != "json"
        return document.canonical([document.without(fields, volatile_fields), described["files"], streamed])

    def visible(self, request: InferenceRequest) -> Any:
        """Return the text fields: an object with the list of each name's values."""
        return multipart.described(request.document)["fields"]

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the form under the upstream's name of the model."""
        form: Form = request.document
        others = [(name, value) for name, value in form.fields if name != "model"]
        header, body = multipart.write_form(Form((("model", upstream_model), *others), form.files))
        return UpstreamCall("/" + self.surface.replace(".", "/"), body, (header,))

    def read(self, request: InferenceRequest, answer: Answer) -> Any:
        """Return what the JSON says, or the text, where a text was asked for."""
        kind = dict(answer.headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
        if _format(request) not in _TEXTS or kind == b"application/json":
            return document.read(answer.body)
        if kind == b"text/html":
            raise ValueError("a page, where a text was asked for")
        return answer.body.decode()

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether this is a text; of silence, an empty one."""
        if isinstance(answer, dict):
            return isinstance(answer.get("text"), str) and not answer.get("error")
        return isinstance(answer, str)

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else tokens, or seconds as units, as far as the answer has them."""
        if metering:
            return apply_rules(metering, request=None, answer=answer, body_size=body_size)
        if not isinstance(answer, dict):
            return None
        usage = answer.get("usage")
        if usage is None:
            seconds = answer.get("duration")
            return None if seconds is None else provider_usage.transcription({"seconds": seconds})
        if not isinstance(usage, dict):
            raise UsageMismatch(f"usage is {usage!r:.40}, not an object")
        return provider_usage.transcription(usage)

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts. The sound's own part nobody can tell without listening to it."""
        text = answer.get("text") if isinstance(answer, dict) else answer
        given = text_tokens(request.document.values("prompt"))
        return UsageReport(TokenPools(input=given, output=text_tokens(text)))

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a transcription's stream."""
        return TranscriptReader()

    def give(self, request: InferenceRequest, answer: Answer) -> Answer:
        """Return the answer as it is, or as a stream where the request asks for one."""
        if not request.stream:
            return answer
        said = self.read(request, answer)
        return Answer((EVENT_STREAM,), b"".join(_replay(said if isinstance(said, dict) else {"text": said})))


class TranscriptReader(TypedReader):
    """The state of one stream, as `cacheproxy.protocols.request.StreamReader` describes it."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: list[str] = []
        self._segments: list[dict[str, Any]] = []
        self._done: dict[str, Any] | None = None

    def take_in(self, kind: str, event: dict[str, Any]) -> None:
        """Keep what an event adds."""
        if kind == _DONE:
            self.finished = True
            self._done = {field: value for field, value in event.items() if field != "type"}
        elif kind == _SEGMENT:
            self._segments.append(event)
        elif kind == _CHUNK:
            self._add_chunk(event)
        elif isinstance(delta := event.get("delta"), str):
            self._texts.append(delta)

    def whole(self) -> dict[str, Any] | None:
        """Return the transcription."""
        if self._done is None:
            return None
        return {**self._done, **({"segments": self._segments} if self._segments else {})}

    def so_far(self) -> dict[str, Any]:
        """Return the transcription, of one that is not complete its text."""
        return self.whole() or {"text": "".join(self._texts)}

    def _add_chunk(self, chunk: dict[str, Any]) -> None:
        """Take in a chunk; the text is whole when one says that it has ended, the stream when `[DONE]` comes."""
        for choice in objects(chunk.get("choices", [])):
            if isinstance(text := (choice.get("delta") or {}).get("content"), str):
                self._texts.append(text)
            if choice.get("finish_reason"):
                self._done = {}
        if self._done is not None:
            usage = {"usage": chunk["usage"]} if chunk.get("usage") else {}
            self._done = {**self._done, "text": "".join(self._texts), **usage}


def _replay(said: dict[str, Any]) -> Iterator[bytes]:
    """Return the events of a transcription: its speakers' segments, else its text, then all but the segments."""
    segments = [
        part for part in said.get("segments") or [] if isinstance(part, dict) and part.get("type") == _SEGMENT
    ]
    for segment in segments:
        yield frame(document.write(segment))
    if said["text"]:
        logprobs = {"logprobs": said["logprobs"]} if said.get("logprobs") else {}
        yield frame(document.write({"type": _DELTA, "delta": said["text"], **logprobs}))
    rest = {field: value for field, value in said.items() if field != "segments" or not segments}
    yield frame(document.write({"type": _DONE, **rest}))


def _format(request: InferenceRequest) -> str:
    return request.document.value("response_format") or "json"


def _flag(form: Form, name: str) -> bool:
    value = form.value(name)
    if value and value.lower() not in _FLAGS:
        raise InvalidRequest(f"{name} must be true or false.", code="invalid_field", param=name)
    return _FLAGS[value.lower()] if value else False


TRANSCRIPTIONS: Dialect = AudioDialect("transcriptions")
TRANSLATIONS: Dialect = AudioDialect("translations")
