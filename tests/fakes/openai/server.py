"""A server that speaks OpenAI's API over real HTTP, every surface of it that the gateway has.

What it answers follows from the request alone, in OpenAI's shapes: a text is its question in capitals. Streams
come in pieces, with pauses. What else a test wants it scripts::

    upstream.then(failure(429, "Slow down", headers={"retry-after": "1"}))
"""

import asyncio
from collections.abc import Callable, Mapping

from tests.fakes.openai import chat, other, responses
from tests.fakes.upstream import Behaviour, FakeUpstream, Received, answer, raw_answer, stream

PAUSE_SECONDS = 0.001
KINDS = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    404: "invalid_request_error",
    429: "requests",
    500: "server_error",
}


class FakeOpenAI(FakeUpstream):
    """The server. Every call needs the key, if there is one; `url` is its root, its client's base URL ends in `/v1`."""

    def __init__(self, key: str = "") -> None:
        super().__init__(self._answer)
        self.key = key

    async def _answer(self, call: Received, writer: asyncio.StreamWriter) -> None:
        await self._behaviour(call)(call, writer)

    def _behaviour(self, call: Received) -> Behaviour:
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            return failure(401, "Incorrect API key provided.", code="invalid_api_key")
        path = call.path.removeprefix("/v1")
        surface = SURFACES.get(path)
        return surface(call) if surface else failure(404, f"Invalid URL (POST {call.path})")


def failure(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer with an error."""
    error = {"message": message, "type": KINDS.get(status, "server_error"), "param": param, "code": code}
    return answer({"error": error}, status=status, headers=headers)


def _chat(call: Received) -> Behaviour:
    told = chat.reply(call.document)
    if not call.document.get("stream"):
        return answer(told)
    return stream(*chat.chunks(told, call.document), pause_seconds=PAUSE_SECONDS)


def _completion(call: Received) -> Behaviour:
    told = other.completion(call.document)
    if not call.document.get("stream"):
        return answer(told)
    return stream(*other.completion_chunks(told, call.document), pause_seconds=PAUSE_SECONDS)


def _response(call: Received) -> Behaviour:
    told = responses.reply(call.document)
    if not call.document.get("stream"):
        return answer(told)
    return stream(*responses.events(told), pause_seconds=PAUSE_SECONDS)


def _images(call: Received) -> Behaviour:
    told = other.images(call.document)
    return stream(*other.image_events(told)) if call.document.get("stream") else answer(told)


def _transcription(call: Received) -> Behaviour:
    form = other.form(call)
    told = other.transcription(form)
    if form.get("stream") == b"true":
        return stream(*other.transcription_events(told), pause_seconds=PAUSE_SECONDS)
    if form.get("response_format") in {b"text", b"srt"}:
        return raw_answer(f"{told['text']}\n".encode(), headers={"content-type": "text/plain; charset=utf-8"})
    return answer(told)


SURFACES: Mapping[str, Callable[[Received], Behaviour]] = {
    "/chat/completions": _chat,
    "/completions": _completion,
    "/responses": _response,
    "/embeddings": lambda call: answer(other.embeddings(call.document)),
    "/moderations": lambda call: answer(other.moderations(call.document)),
    "/images/generations": _images,
    "/audio/transcriptions": _transcription,
    "/rerank": lambda call: answer(other.rerank(call.document)),
}
