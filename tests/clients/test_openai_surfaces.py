"""OpenAI's own client: everything that it has beside chats and responses."""

import base64
import io
from typing import Any

import openai
import pytest

from tests.clients.conftest import PRICED, Speaker
from tests.clients.stage import Form, Stage, calls_to, each, expect_hit, expect_miss, fresh, got, within


class TestEmbeddings:
    async def test_the_clients_own_base64_and_plain_numbers(
        self, stage: Stage, gpt: Speaker, straight_gpt: Speaker
    ) -> None:
        for more in ({}, {"encoding_format": "float"}, {"dimensions": 3}):
            heads = len(gpt.heads)
            asked = {"input": [fresh("one text"), fresh("and another")], **more}
            told = await _embed(straight_gpt, **asked)
            with calls_to(stage.openai, 1):
                assert [await _embed(gpt, **asked) for _ in "ab"] == [told, told]
            miss = expect_miss(stage, gpt.heads[heads])
            assert (miss.input, miss.output) == (told["usage"]["prompt_tokens"], 0)
            expect_hit(stage, gpt.heads[heads + 1], miss)

    async def test_only_new_texts_go_upstream(
        self, stage: Stage, gpt: Speaker, straight_gpt: Speaker
    ) -> None:
        a, b, c, d = (fresh("text") for _ in range(4))
        await _embed(gpt, input=[a, b])
        with calls_to(stage.openai, 1):
            mixed = await _embed(gpt, input=[c, b, a, d, c])
        assert stage.openai.received[-1].document["input"] == [c, d]
        told = await _embed(straight_gpt, input=[c, b, a, d, c])
        assert mixed["data"] == told["data"]
        kept, computed = sorted(stage.events(gpt.heads[1].request_id), key=lambda event: event.outcome)
        assert (computed.outcome, kept.outcome) == ("miss", "exact")
        assert computed.input + kept.input == mixed["usage"]["prompt_tokens"]
        with calls_to(stage.openai, 0):
            assert (await _embed(gpt, input=b))["data"][0]["embedding"] == told["data"][1]["embedding"]

    async def test_token_numbers(self, stage: Stage, gpt: Speaker, straight_gpt: Speaker) -> None:
        number = len(fresh("")) + id(gpt)
        for given in ([number, 2, 3], [[number, 5], [6]]):
            told = await _embed(straight_gpt, input=given)
            with calls_to(stage.openai, 1):
                answers = [await _embed(gpt, input=given) for _ in "ab"]
            assert [answer["data"] for answer in answers] == [told["data"]] * 2


async def _embed(speaker: Speaker, **asked: Any) -> Any:
    return (await got(speaker.client.embeddings.create(model=speaker.model, **asked))).to_dict()


async def plain(speaker: Speaker, **asked: Any) -> Any:
    answer = await got(speaker.client.completions.create(model=speaker.model, **asked))
    return [choice.text for choice in answer.choices], answer.usage.to_dict()


async def streamed(speaker: Speaker, **asked: Any) -> Any:
    with_usage = {"include_usage": True}
    stream = await got(
        speaker.client.completions.create(
            model=speaker.model, stream=True, stream_options=with_usage, **asked
        )
    )
    chunks = await each(stream)
    texts: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] = texts.get(choice.index, "") + choice.text
    return [texts[index] for index in sorted(texts)], chunks[-1].usage.to_dict()


@pytest.mark.parametrize(
    ("first", "then"),
    [(plain, plain), (streamed, streamed), (plain, streamed), (streamed, plain)],
    ids=lambda form: form.__name__,
)
async def test_completions(
    stage: Stage, gpt: Speaker, straight_gpt: Speaker, first: Form, then: Form
) -> None:
    asked = {"prompt": [fresh("once upon"), fresh("a time")], "logprobs": 1}
    told = await plain(straight_gpt, **asked)
    with calls_to(stage.openai, 1):
        assert await first(gpt, **asked) == await then(gpt, **asked) == told
    miss = expect_miss(stage, gpt.heads[0], streamed=first is streamed)
    expect_hit(stage, gpt.heads[1], miss)
    assert miss.output == told[1]["completion_tokens"]


async def test_moderations(stage: Stage, gpt: Speaker, straight_gpt: Speaker) -> None:
    asked = {"input": [fresh("violence"), "peace"]}
    told = await got(straight_gpt.client.moderations.create(model=straight_gpt.model, **asked))
    for answer in [await got(gpt.client.moderations.create(model=gpt.model, **asked)) for _ in "ab"]:
        assert answer == told
        assert [result.flagged for result in answer.results] == [True, False]
    miss = expect_miss(stage, gpt.heads[0])
    expect_hit(stage, gpt.heads[1], miss)
    assert miss.quality == "estimated"
    for _ in "ab":  # without a model it is OpenAI's own
        await got(gpt.client.moderations.create(input=asked["input"]))
    expect_hit(stage, gpt.heads[3], expect_miss(stage, gpt.heads[2]))


class TestImages:
    async def test_whole_ones(self, stage: Stage, gpt: Speaker, straight_gpt: Speaker) -> None:
        asked = {"prompt": fresh("A fjord"), "n": 2}
        told = await got(straight_gpt.client.images.generate(model=straight_gpt.model, **asked))
        for _ in "ab":
            assert await got(gpt.client.images.generate(model=gpt.model, **asked)) == told
        miss = expect_miss(stage, gpt.heads[0])
        expect_hit(stage, gpt.heads[1], miss)
        assert (miss.input, miss.output) == (10, 200)

    async def test_streams(self, stage: Stage, gpt: Speaker) -> None:
        asked = {"prompt": fresh("A fell"), "model": gpt.model}
        picture = base64.b64encode(f"{asked['prompt']} 0".encode()).decode()
        for expected in (["partial_image", "completed"], ["completed"]):
            events = await each(await got(gpt.client.images.generate(**asked, stream=True, partial_images=1)))
            assert [event.type.removeprefix("image_generation.") for event in events] == expected
            assert events[-1].b64_json == picture
        whole = await got(gpt.client.images.generate(**asked))
        assert whole.data[0].b64_json == picture
        miss = expect_miss(stage, gpt.heads[0], streamed=True)
        for told in gpt.heads[1:]:
            expect_hit(stage, told, miss)


class TestTranscriptions:
    async def test_forms_are_keyed_by_their_sound(self, stage: Stage, gpt: Speaker) -> None:
        sound = fresh("hello there").encode()
        with calls_to(stage.openai, 1):
            for name in ("one.wav", "two.wav"):
                answer = await got(
                    gpt.client.audio.transcriptions.create(model=gpt.model, file=(name, io.BytesIO(sound)))
                )
                assert answer.text == sound.decode()
            stream = await got(
                gpt.client.audio.transcriptions.create(model=gpt.model, file=("3.wav", sound), stream=True)
            )
            events = await each(stream)
        assert events[-1].type == "transcript.text.done"
        assert events[-1].text == sound.decode()
        miss = expect_miss(stage, gpt.heads[0])
        assert (miss.input, miss.output) == (14, answer.usage.output_tokens)
        for told in gpt.heads[1:]:
            expect_hit(stage, told, miss)

    async def test_a_stream_first(self, stage: Stage, gpt: Speaker) -> None:
        sound = fresh("who goes there").encode()
        asked = {"model": gpt.model, "file": ("a.wav", sound)}
        texts = []
        for _ in "ab":
            events = await each(await got(gpt.client.audio.transcriptions.create(**asked, stream=True)))
            texts.append("".join(event.delta for event in events[:-1]))
        whole = await got(gpt.client.audio.transcriptions.create(**asked))
        assert [*texts, whole.text] == [sound.decode()] * 3
        miss = expect_miss(stage, gpt.heads[0], streamed=True)
        for told in gpt.heads[1:]:
            expect_hit(stage, told, miss)

    async def test_texts_and_what_is_more_than_a_text(self, stage: Stage, gpt: Speaker) -> None:
        sound = fresh("good morning").encode()
        asked = {"model": gpt.model, "file": ("a.wav", sound)}
        texts = [
            await got(gpt.client.audio.transcriptions.create(**asked, response_format="text")) for _ in "ab"
        ]
        assert texts == [f"{sound.decode()}\n"] * 2
        asked["timestamp_granularities"] = ["segment", "word"]
        for _ in "ab":
            verbose = await got(
                gpt.client.audio.transcriptions.create(**asked, response_format="verbose_json")
            )
            assert verbose.segments[0].text == sound.decode()
        assert [told.cache_status.startswith("zerorate; hit") for told in gpt.heads] == [False, True] * 2
        assert stage.event(gpt.heads[3].request_id).units == 3


async def test_translations(stage: Stage, gpt: Speaker) -> None:
    sound = fresh("guten Tag").encode()
    for _ in "ab":
        with pytest.warns(DeprecationWarning, match="deprecated"):
            answer = await got(gpt.client.audio.translations.create(model=gpt.model, file=("a.wav", sound)))
        assert answer.text == sound.decode()
    expect_hit(stage, gpt.heads[1], expect_miss(stage, gpt.heads[0]))


async def test_models(stage: Stage, gpt: Speaker) -> None:
    names = {model.id for model in await each(await got(gpt.client.models.list()))}
    assert names == set(PRICED)
    assert (await got(gpt.client.models.retrieve("gpt"))).object == "model"
    with pytest.raises(openai.NotFoundError) as missing:
        await got(gpt.client.models.retrieve("unpriced"))
    assert missing.value.code == "model_not_found"


async def test_a_file_by_its_path_and_a_binary_answer(gpt: Speaker, tmp_path: Any) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(fresh("from a file").encode())
    asked = {"model": gpt.model, "file": path}
    async with within(
        gpt.client.audio.transcriptions.with_streaming_response.create(**asked, response_format="srt")
    ) as response:
        assert await got(response.read()) == path.read_bytes() + b"\n"


async def test_two_variables_are_enough(stage: Stage, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{stage.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", stage.key)
    client = openai.AsyncOpenAI() if way == "async" else openai.OpenAI()
    async with within(client):
        assert [model.id for model in await each(await got(client.models.list()))]
