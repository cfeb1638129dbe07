# mypy: ignore-errors
"""LiteLLM at work in its own environment: a line of JSON in is a call, a line of JSON out what came of it.

    {"function": "completion", "arguments": {"model": "openai/gpt", ...}}
    {"program": "import litellm ..."}

Functions whose name starts with `a` are awaited; of streams all chunks are told. It imports nothing of this project.
"""

import asyncio
import contextlib
import inspect
import io
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch one otherwise

import litellm

litellm.telemetry = False
litellm.suppress_debug_info = True


async def call(function, arguments):
    """Return what came of one call."""
    try:
        answer = getattr(litellm, function)(**arguments)
        if inspect.isawaitable(answer):
            answer = await answer
        if not arguments.get("stream"):
            return {"said": answer.model_dump(), "headers": headers_of(answer)}
        chunks = [chunk async for chunk in answer] if function.startswith("a") else list(answer)
        whole = litellm.stream_chunk_builder(chunks)
        return {"said": whole.model_dump(), "headers": headers_of(answer), "chunks": len(chunks)}
    except Exception as error:  # noqa: BLE001 - every error is an answer here
        return {
            "error": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "message": str(error),
        }


def headers_of(answer):
    """Return the headers of the answer, as far as LiteLLM hands them on."""
    told = getattr(answer, "_hidden_params", None) or {}
    found = told.get("additional_headers") or {}
    return {name.removeprefix("llm_provider-"): str(value) for name, value in found.items()}


def run(program):
    """Return what a program prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, {})
    return {"printed": printed.getvalue()}


async def main():
    """Answer line by line."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        came = run(told["program"]) if "program" in told else await call(told["function"], told["arguments"])
        print(json.dumps(came, default=str), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
