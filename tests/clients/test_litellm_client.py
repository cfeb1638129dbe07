"""LiteLLM as a client, in the environment that `make install` makes for it: OpenAI's and Anthropic's provider."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.documented import ROOT, program
from tests.clients.stage import Stage, Told, calls_to, expect_hit, expect_miss, fresh

pytestmark = pytest.mark.journey

PYTHON = ROOT / "var" / "litellm" / "bin" / "python"
DRIVER = Path(__file__).with_name("litellm_driver.py")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ANEW = {"cf-aig-skip-cache": "true"}


class LiteLlm:
    """LiteLLM in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert json.loads(self._line()) == {"ready": True}

    def call(self, function: str, **arguments: Any) -> Any:
        """Return what came of a call."""
        return self._ask({"function": function, "arguments": arguments})

    def run(self, program: str) -> Any:
        """Return what a program printed."""
        return self._ask({"program": program})["printed"]

    def _ask(self, told: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def litellm() -> Iterator[LiteLlm]:
    if not PYTHON.exists():
        pytest.skip("var/litellm is missing: its packages were not to be had (requirements/litellm.in)")
    command = [str(PYTHON), str(DRIVER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield LiteLlm(process)


@pytest.fixture(params=["openai", "anthropic"])
def gate(request: pytest.FixtureRequest, stage: Stage) -> dict[str, Any]:
    """Give what to tell LiteLLM so that it comes to the gateway."""
    return openai_gate(stage) if request.param == "openai" else anthropic_gate(stage)


def openai_gate(stage: Stage) -> dict[str, Any]:
    return {"model": "openai/gpt", "api_base": f"{stage.url}/v1", "api_key": stage.key}


def anthropic_gate(stage: Stage) -> dict[str, Any]:
    return {"model": "anthropic/claude", "api_base": stage.url, "api_key": stage.key}


def straight(stage: Stage, gate: dict[str, Any]) -> dict[str, Any]:
    """Return what to tell LiteLLM so that it goes straight to the server."""
    if gate["model"] == "openai/gpt":
        return {"model": "openai/small", "api_base": f"{stage.openai.url}/v1", "api_key": "sk-openai"}
    return {"model": "anthropic/small", "api_base": stage.anthropic.url, "api_key": "sk-anthropic"}


def asking(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def message(told: Any) -> Any:
    """Return what was said; how LiteLLM spells nothing, and JSON, differs between its own streams and answers."""
    assert "error" not in told, told
    (choice,) = told["said"]["choices"]
    functions = [call["function"] for call in choice["message"].get("tool_calls") or []]
    calls = [(function["name"], json.loads(function["arguments"])) for function in functions]
    return choice["message"]["content"] or None, calls, choice["finish_reason"]


PLAIN: dict[str, Any] = {}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("function", ["completion", "acompletion"])
@pytest.mark.parametrize(
    ("first", "then"),
    [(PLAIN, PLAIN), (STREAMED, STREAMED), (PLAIN, STREAMED), (STREAMED, PLAIN)],
    ids=["plain-plain", "stream-stream", "plain-stream", "stream-plain"],
)
def test_both_forms_say_the_same_before_and_after(
    stage: Stage, litellm: LiteLlm, gate: dict[str, Any], function: str, first: Any, then: Any
) -> None:
    upstream = stage.openai if gate["model"] == "openai/gpt" else stage.anthropic
    for more in ({}, {"tools": [TOOL]}):
        asked = {"messages": asking(fresh("What is the time?")), **more}
        told = litellm.call(function, **straight(stage, gate), **asked)
        with calls_to(upstream, 1):
            answers = [litellm.call(function, **gate, **asked, **form) for form in (first, then)]
        assert [message(answer) for answer in answers] == [message(told)] * 2
        heads = [Told(200, answer["headers"]) for answer in answers]
        miss = expect_miss(stage, heads[0], streamed=first is STREAMED)
        expect_hit(stage, heads[1], miss)
        for answer in answers:
            assert answer["said"]["usage"]["completion_tokens"] == miss.output
            assert answer["said"]["usage"]["prompt_tokens"] == miss.input + miss.cache_read


@pytest.mark.parametrize("function", ["embedding", "aembedding"])
def test_embeddings(stage: Stage, litellm: LiteLlm, function: str) -> None:
    texts = [fresh("one"), fresh("two")]
    told = litellm.call(function, **straight(stage, openai_gate(stage)), input=texts)["said"]
    with calls_to(stage.openai, 1):
        answers = [litellm.call(function, **openai_gate(stage), input=texts) for _ in "ab"]
    assert [answer["said"] for answer in answers] == [told] * 2
    first, again = (Told(200, answer["headers"]) for answer in answers)
    expect_hit(stage, again, expect_miss(stage, first))


def test_its_cache_controls_work_here(stage: Stage, litellm: LiteLlm, gate: dict[str, Any]) -> None:
    """Only its OpenAI provider knows `extra_body`; headers go with both."""
    asked = {**gate, "messages": asking(fresh("New?"))}
    through_body = gate["model"] == "openai/gpt"
    anew = {"extra_body": {"cache": {"no-cache": True}}} if through_body else {"extra_headers": ANEW}
    upstream = stage.openai if gate["model"] == "openai/gpt" else stage.anthropic
    with calls_to(upstream, 3):
        told = [
            litellm.call("completion", **asked, **more)["headers"]["cache-status"]
            for more in (
                {},
                {},
                anew,
                {"extra_headers": {"cache-control": "no-store"}},
            )
        ]
    assert told[0] == "zerorate; fwd=miss; stored"
    assert told[1].endswith("detail=exact")
    assert told[2:] == ["zerorate; fwd=bypass; stored", "zerorate; fwd=bypass"]


def test_errors_are_its_own(stage: Stage, litellm: LiteLlm, gate: dict[str, Any]) -> None:
    name = gate["model"].partition("/")[0]
    before = stage.event_count()
    for error, changed in (
        ("AuthenticationError", {"api_key": "sk-other"}),
        ("NotFoundError", {"model": f"{name}/unheard-of"}),
        ("BadRequestError", {"extra_headers": {"cache-control": "max-age=soon"}}),
    ):
        told = litellm.call("completion", **{**gate, "messages": asking("Hello?"), **changed})
        assert told["error"] == error, told
    assert stage.event_count() == before


def test_the_documented_program(stage: Stage, litellm: LiteLlm) -> None:
    assert litellm.run(program(stage, "import litellm")) == "HELLO\n"
