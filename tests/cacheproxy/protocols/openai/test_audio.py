from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.audio import Transcription
from openai.types.audio.transcription_stream_event import TranscriptionStreamEvent
from pydantic import TypeAdapter

from cacheproxy.protocols.multipart import File, Form, read_form, write_form
from cacheproxy.protocols.openai.audio import TRANSCRIPTIONS as DIALECT
from cacheproxy.protocols.openai.audio import TRANSLATIONS
from cacheproxy.protocols.request import (
    EVENT_STREAM,
    JSON,
    Answer,
    Incoming,
    InferenceRequest,
    InvalidRequest,
)
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools
from tests.cacheproxy.protocols.openai.fuzz import (
    answer_of,
    answers,
    check_every_cut,
    check_every_end,
    fed,
    streams,
)
from tests.cacheproxy.protocols.streams import texts

STREAMS, ANSWERS = streams("transcriptions"), answers("transcriptions")
EVENTS: TypeAdapter[Any] = TypeAdapter(TranscriptionStreamEvent)
SOUND = File("file", "a.wav", "audio/wav", memoryview(b"RIFF\x00\xff"))
TEXT: tuple[bytes, bytes] = (b"content-type", b"text/plain; charset=utf-8")


def parse(
    *fields: tuple[str, str], model: str = "whisper-1", files: tuple[File, ...] = (SOUND,)
) -> InferenceRequest:
    header, body = write_form(Form((("model", model), *fields), files))
    return DIALECT.parse(Incoming(body, dict([header])))


def canonical(*fields: tuple[str, str], sound: File = SOUND) -> bytes:
    return DIALECT.canonical(parse(*fields, files=(sound,)), ())


def in_format(name: str, *, stream: bool = False) -> InferenceRequest:
    return parse(("response_format", name), ("stream", str(stream).lower()))


class TestRequest:
    @pytest.mark.parametrize(
        ("dialect", "name"), [(DIALECT, "transcriptions"), (TRANSLATIONS, "translations")]
    )
    def test_the_form_goes_to_the_surface_with_all_its_fields(self, dialect: Any, name: str) -> None:
        fields = (
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("x_extra", "1"),
        )
        call = dialect.upstream_call(parse(*fields), "whisper-large")
        assert call.path == f"/audio/{name}"
        form = read_form(Incoming(call.body, dict(call.headers)))
        assert form == Form((("model", "whisper-large"), *fields), (SOUND,))

    @pytest.mark.parametrize(
        ("value", "stream"), [("true", True), ("True", True), ("1", True), ("false", False)]
    )
    def test_a_stream(self, value: str, stream: bool) -> None:
        assert parse(("stream", value)).stream is stream
        assert parse().stream is False

    @pytest.mark.parametrize(
        ("request_", "code", "param"),
        [
            ({"files": ()}, "missing_field", "file"),
            ({"files": (SOUND._replace(name="sound"),)}, "missing_field", "file"),
            ({"files": (SOUND, SOUND)}, "invalid_field", "file"),
            ({"files": (SOUND._replace(content=memoryview(b"")),)}, "invalid_field", "file"),
            ({"model": ""}, "invalid_field", "model"),
        ],
    )
    def test_what_cannot_be_understood(self, request_: Any, code: str, param: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse(**request_)
        assert (refused.value.code, refused.value.param) == (code, param)

    def test_a_stream_that_is_neither_true_nor_false(self) -> None:
        with pytest.raises(InvalidRequest, match="stream must be true or false"):
            parse(("stream", "yes"))

    def test_no_form(self) -> None:
        with pytest.raises(InvalidRequest, match="multipart"):
            DIALECT.parse(Incoming(b"{}", {b"content-type": b"application/json"}))


class TestKey:
    def test_the_files_name_is_not_in_it_and_its_content_is(self) -> None:
        assert canonical(sound=SOUND._replace(filename="b.mp3", content_type="")) == canonical()
        assert canonical(sound=SOUND._replace(content=memoryview(b"RIFF"))) != canonical()

    def test_every_field_is(self) -> None:
        assert canonical(("language", "en")) != canonical(("language", "de")) != canonical()
        assert canonical(("a", "1"), ("a", "2")) != canonical(("a", "2"), ("a", "1"))
        assert canonical(("a", "1"), ("b", "2")) == canonical(("b", "2"), ("a", "1"))

    def test_but_for_volatile_ones(self) -> None:
        assert DIALECT.canonical(parse(("trace", "1")), ["/trace"]) == canonical()

    def test_streams_share_it_with_plain_answers_where_these_are_json(self) -> None:
        assert canonical(("stream", "true")) == canonical(("stream", "false")) == canonical()
        text = ("response_format", "text")
        assert canonical(text, ("stream", "true")) != canonical(text)


class TestAnswer:
    @pytest.mark.parametrize("name", ["json", "verbose_json", "diarized_json", "text"])
    def test_json(self, name: str) -> None:
        said = DIALECT.read(in_format(name), Answer((JSON,), b'{"text": "Hi"}'))
        assert said == {"text": "Hi"}
        assert DIALECT.is_answer(in_format(name), said)

    @pytest.mark.parametrize("name", ["text", "srt", "vtt"])
    @pytest.mark.parametrize("text", ["Hi – there\n", ""])
    def test_text(self, name: str, text: str) -> None:
        said = DIALECT.read(in_format(name), Answer((TEXT,), text.encode()))
        assert said == text
        assert DIALECT.is_answer(in_format(name), said)

    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("text", Answer(((b"content-type", b"text/html"),), b"<html>")),
            ("text", Answer((TEXT,), b"\xff")),
            ("json", Answer((TEXT,), b"Hi")),
        ],
    )
    def test_something_else(self, name: str, answer: Answer) -> None:
        with pytest.raises(ValueError, match=r"page|utf-8|JSON"):
            DIALECT.read(in_format(name), answer)

    @pytest.mark.parametrize("said", [None, [], {}, {"text": 5}, {"text": "x", "error": {"message": "no"}}])
    def test_what_is_none(self, said: Any) -> None:
        assert not DIALECT.is_answer(parse(), said)

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            (ANSWERS["hello"], UsageReport(TokenPools(input=16, output=5))),
            (ANSWERS["vllm"], UsageReport(TokenPools(input=8, output=3))),
            ({"usage": {"type": "duration", "seconds": 9}}, UsageReport(units=9)),
            ({"usage": {"type": "duration", "seconds": 8.01}}, UsageReport(units=9)),
            ({"duration": 8.47, "text": ""}, UsageReport(units=9)),
            ({"text": ""}, None),
            ("text", None),
        ],
    )
    def test_usage(self, said: Any, expected: UsageReport | None) -> None:
        assert DIALECT.usage(parse(), said, {}, 0) == expected

    @pytest.mark.parametrize(
        "said",
        [{"usage": 5}, {"usage": {}}, {"usage": {"seconds": "9"}}, {"duration": True}, {"duration": -1.5}],
    )
    def test_a_report_that_makes_no_sense(self, said: Any) -> None:
        with pytest.raises(UsageMismatch):
            DIALECT.usage(parse(), said, {}, 0)

    def test_a_metering_rule(self) -> None:
        assert DIALECT.usage(parse(), "text", {"units": {"per_kib": 1}}, 2000) == UsageReport(units=2)
        with pytest.raises(UsageMismatch):
            DIALECT.usage(parse(), "text", {"units": {"per_item": "/file"}}, 2000)

    def test_an_estimate(self) -> None:
        request = parse(("prompt", "12345"))
        assert DIALECT.estimate(request, "1234").pools == TokenPools(input=2, output=1)
        assert DIALECT.estimate(request, {"text": "12345"}).pools == TokenPools(input=2, output=2)
        assert DIALECT.estimate(request, None).pools == TokenPools(input=2)


class TestStream:
    @pytest.mark.parametrize("name", STREAMS)
    def test_however_it_is_cut(self, name: str) -> None:
        check_every_cut(lambda: DIALECT.stream_reader(parse()), STREAMS[name], ANSWERS[name])

    @pytest.mark.parametrize("name", STREAMS)
    def test_cut_short_it_is_no_answer(self, name: str) -> None:
        closing = b"data: [DONE]" if name == "vllm" else b'data: {"type":"transcript.text.done"'
        check_every_end(lambda: DIALECT.stream_reader(parse()), STREAMS[name], closing)

    def test_what_was_said_so_far(self) -> None:
        reader = DIALECT.stream_reader(parse())
        reader.feed(STREAMS["hello"].partition(b'data: {"type":"transcript.text.done"')[0])
        assert reader.so_far() == {"text": "Hello – there."}

    @pytest.mark.parametrize(
        "event",
        [b'{"type":"error","message":"no"}', b'{"object":"transcription.chunk","choices":[{"delta":5}]}'],
    )
    def test_what_makes_no_sense(self, event: bytes) -> None:
        stream = b"data: " + event + b"\n\n" + STREAMS["hello"]
        reader = DIALECT.stream_reader(parse())
        assert fed(reader, stream) == stream
        assert reader.answer() is None


class TestReplay:
    @settings(deadline=None)
    @given(texts, st.booleans(), st.dictionaries(st.sampled_from(["languages", "x"]), texts))
    def test_a_replayed_answer_is_itself_again(
        self, text: str, segmented: bool, extras: dict[str, Any]
    ) -> None:
        segments = {"segments": ANSWERS["speakers"]["segments"]} if segmented else {}
        answer = {"text": text, **extras, **segments}
        given = DIALECT.give(in_format("json", stream=True), Answer((JSON,), msgspec.json.encode(answer)))
        assert given.headers == (EVENT_STREAM,)
        reader = DIALECT.stream_reader(parse())
        fed(reader, given.body)
        assert answer_of(reader) == answer

    @pytest.mark.parametrize("name", ["hello", "speakers"])
    def test_openais_own_client_reads_it(self, name: str) -> None:
        Transcription.model_validate(ANSWERS[name])
        kept = Answer((JSON,), msgspec.json.encode(ANSWERS[name]))
        body = DIALECT.give(in_format("json", stream=True), kept).body
        events = [EVENTS.validate_json(event.removeprefix(b"data: ")) for event in body.split(b"\n\n")[:-1]]
        assert events[-1].text == "".join(
            event.delta for event in events if event.type == "transcript.text.delta"
        )

    def test_a_text_becomes_a_stream_and_stays_a_text(self) -> None:
        kept = Answer((TEXT,), b"Hi")
        assert DIALECT.give(in_format("text"), kept) == kept
        events = DIALECT.give(in_format("text", stream=True), kept).body.split(b"\n\n")
        assert events[1] == b'data: {"type":"transcript.text.done","text":"Hi"}'

    def test_segments_of_words_stay_with_their_text(self) -> None:
        answer = {"text": "Hi", "segments": [{"id": 0, "text": "Hi"}], "duration": 1.5}
        kept = Answer((JSON,), msgspec.json.encode(answer))
        reader = DIALECT.stream_reader(parse())
        fed(reader, DIALECT.give(in_format("verbose_json", stream=True), kept).body)
        assert answer_of(reader) == answer
