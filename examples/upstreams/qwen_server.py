"""A Qwen model, or any other causal model of transformers, behind OpenAI's chat completions.

    var/qwen/bin/python -m examples.upstreams.qwen_server --port 9104 [--model FOLDER] [--threads 1]

The folder is a checkpoint as `save_pretrained` or a download leaves it; `QWEN_PATH` names one, too. Without any it
builds the tiny one of `examples.upstreams.tiny_qwen`. It runs in an environment of its own, which `make install`
builds, since PyTorch is large. Nothing is downloaded at any time.

Usage is counted by the model's own tokenizer, the chat template's tokens included. One answer is written at a time;
who hangs up has it stopped. `structured_outputs: {"choice": […]}` makes it a classifier, as with vLLM.
"""

import asyncio
import contextlib
import json
import os
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from examples.upstreams import loopback, qwen_question, tiny_qwen
from examples.upstreams.qwen_model import ChatModel, Completion, Sampling
from examples.upstreams.qwen_question import Question, Refused

MAX_BODY_BYTES = 2**20
END_OF_STREAM = b"data: [DONE]\n\n"


class Server:
    """One model behind the paths of OpenAI's API, under one name."""

    def __init__(self, model: ChatModel, name: str) -> None:
        self.model = model
        self.name = name
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_explain])
        application.router.add_get("/health", self.healthy)
        application.router.add_get("/v1/models", self.models)
        application.router.add_post("/v1/chat/completions", self.complete)
        return application

    async def healthy(self, _: web.Request) -> web.Response:
        """Answer that the server is up; it listens only once its model is loaded."""
        return web.Response()

    async def models(self, _: web.Request) -> web.Response:
        """Answer which model there is."""
        return web.json_response({"object": "list", "data": [{"id": self.name, "object": "model"}]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat, as a whole or as it is written."""
        try:
            question = qwen_question.read(await request.json())
        except ValueError as problem:
            raise Refused("The body is not JSON.") from problem
        if question.model != self.name:
            raise Refused(f"There is no model '{question.model}'.", param="model", status=404)
        prompt = self.model.prompt(question.messages)
        if prompt.shape[1] + question.limit > self.model.longest_chat:
            told = f"{prompt.shape[1]} tokens and {question.limit} to come are more than {self.model.longest_chat}."
            raise Refused(told, param="messages")
        answer = _Answer(question, int(prompt.shape[1]))
        if question.stream:
            return await self._stream(request, prompt, answer)
        with _stopping() as stop:
            return web.json_response(answer.whole(await self._write(prompt, question, stop)))

    async def _stream(self, request: web.Request, prompt: Any, answer: "_Answer") -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(answer.chunk({"role": "assistant", "content": ""}))
        with _stopping() as stop:
            streamer = None if answer.question.choices else self.model.streamer()
            writing = asyncio.ensure_future(self._write(prompt, answer.question, stop, streamer))
            if streamer is not None:
                async for text in streamer:
                    if text:
                        await response.write(answer.chunk({"content": text}))
            completion = await writing
        if streamer is None:
            await response.write(answer.chunk({"content": completion.text}))
        await response.write(answer.chunk({}, finish_reason=completion.finish_reason))
        if answer.question.with_usage:
            await response.write(answer.closing(completion))
        await response.write(END_OF_STREAM)
        return response

    async def _write(
        self, prompt: Any, question: Question, stop: threading.Event, streamer: Any = None
    ) -> Completion:
        """Return the answer, written in the one thread that speaks to the model."""

        def write() -> Completion:
            if question.choices:
                chosen: Completion = self.model.choose(prompt, question.choices)
                return chosen
            sampling = Sampling(question.limit, question.temperature, question.top_p, question.seed)
            try:
                written: Completion = self.model.complete(prompt, sampling, stop=stop, streamer=streamer)
            except Exception:
                if streamer is not None:
                    streamer.end()  # who waits for more text is to see the failure
                raise
            return written

        return await asyncio.get_running_loop().run_in_executor(self._writer, write)


class _Answer:
    """The documents in which an answer is given."""

    def __init__(self, question: Question, prompt_tokens: int) -> None:
        self.question = question
        self.prompt_tokens = prompt_tokens
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": question.model,
        }

    def whole(self, completion: Completion) -> dict[str, Any]:
        message = {"role": "assistant", "content": completion.text}
        choice = {"index": 0, "message": message, "finish_reason": completion.finish_reason}
        usage = self._usage(completion)
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(self, delta: dict[str, str], *, finish_reason: str | None = None) -> bytes:
        return self._event([{"index": 0, "delta": delta, "finish_reason": finish_reason}])

    def closing(self, completion: Completion) -> bytes:
        return self._event([], usage=self._usage(completion))

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        fields = {**self._head, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + json.dumps(fields).encode() + b"\n\n"

    def _usage(self, completion: Completion) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion.tokens,
            "total_tokens": self.prompt_tokens + completion.tokens,
        }


@contextlib.contextmanager
def _stopping() -> Any:
    """Give an event that is set at the end, whichever it is."""
    stop = threading.Event()
    try:
        yield stop
    finally:
        stop.set()


@web.middleware
async def _explain(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn what goes wrong into OpenAI's errors."""
    try:
        response: web.StreamResponse = await handler(request)
    except Refused as problem:
        return _error(str(problem), problem.status, problem.param)
    except web.HTTPException as problem:
        return _error(problem.reason, problem.status, None)
    return response


def _error(message: str, status: int, param: str | None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return web.json_response({"error": error}, status=status)


def main() -> None:
    """Serve until told to stop."""
    parser = loopback.port_parser("Serve a causal language model behind OpenAI's API.", default=9104)
    told = "folder of a checkpoint (default: QWEN_PATH, else a tiny one built here)"
    parser.add_argument("--model", type=Path, default=os.environ.get("QWEN_PATH"), help=told)
    parser.add_argument("--name", default="qwen", help="what clients call the model (default qwen)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the model (default 1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.model is None:
            tiny_qwen.build(Path(folder))
        model = ChatModel(options.model or Path(folder), threads=options.threads)
    print(f"Qwen ready on http://{loopback.HOST}:{options.port}", flush=True)
    application = Server(model, options.name).application()
    web.run_app(application, host=loopback.HOST, port=options.port, print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
