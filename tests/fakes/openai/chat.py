"""Chats, plain and in chunks.

Where there are tools, and the last word is the user's, the first two are called; else the last text comes back
in capitals, or filled into the schema that `response_format` has. `reasoning_effort` makes it think aloud, as
DeepSeek does. Who says "refuse" is refused.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from tests.fakes.openai.words import digest, event, filled, pieces, tokens

CACHED_TOKENS = 2
"""Of every prompt, as far as it has more."""


def reply(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the completion that answers a request."""
    choices = [_choice(fields, index) for index in range(fields.get("n") or 1)]
    reasoning = tokens(choices[0]["message"].get("reasoning_content") or "") - 1
    prompt, output = tokens([fields["messages"], fields.get("tools")]), tokens(choices)
    return {
        "id": f"chatcmpl-{digest(fields['messages'])}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": fields["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": min(CACHED_TOKENS, prompt), "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }


def chunks(told: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Return the completion's stream, choices in turns, the closing event last."""
    head = {name: told[name] for name in ("id", "created", "model", "service_tier", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"
    wants_usage = (fields.get("stream_options") or {}).get("include_usage")
    silence = {"usage": None} if wants_usage else {}
    for turn in zip_longest(*map(_told, told["choices"])):
        for choice in filter(None, turn):
            yield event({**head, "choices": [choice], **silence, "obfuscation": "xyzzy"[choice["index"] :]})
    if wants_usage:
        yield event({**head, "choices": [], "usage": told["usage"], "obfuscation": ""})
    yield b"data: [DONE]\n\n"


def _choice(fields: Mapping[str, Any], index: int) -> dict[str, Any]:
    text = _last_text(fields) + (f" {index}" if index else "")
    calls = _calls(fields, text)
    refused = "refuse" in text
    content = None if calls or refused else _content(fields, text)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if refused:
        message["refusal"] = "I cannot say that."
    if fields.get("reasoning_effort"):
        message["reasoning_content"] = f"They said: {text}."
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(content or "") if fields.get("logprobs") else None,
        "finish_reason": "tool_calls" if calls else "stop",
    }


def _last_text(fields: Mapping[str, Any]) -> str:
    content = fields["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _content(fields: Mapping[str, Any], text: str) -> str:
    wanted = fields.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(filled(wanted["json_schema"]["schema"], text))
    return text.upper()


def _calls(fields: Mapping[str, Any], text: str) -> list[dict[str, Any]]:
    """Return a call of each of the first two tools; none where they were called already."""
    if fields.get("tool_choice") == "none" or fields["messages"][-1]["role"] != "user":
        return []
    functions = [tool["function"] for tool in (fields.get("tools") or [])[:2]]
    return [
        {
            "id": f"call_{place}_{digest(text)}",
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": json.dumps(filled(function.get("parameters") or {"type": "object"}, text)),
            },
        }
        for place, function in enumerate(functions)
    ]


def _logprobs(text: str) -> dict[str, Any]:
    return {"content": [_logprob(piece) for piece in pieces(text)], "refusal": None}


def _logprob(piece: str) -> dict[str, Any]:
    said = {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
    return {**said, "top_logprobs": [said, {"token": "?", "logprob": -3.5, "bytes": [63]}]}


def _told(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return one choice as it is told chunk by chunk."""
    message = choice["message"]
    first: dict[str, Any] = {"role": "assistant", "content": "" if message["content"] else None}
    first["refusal"] = None
    yield _piece(choice, first)
    for field in ("reasoning_content", "content", "refusal"):
        for text in pieces(message.get(field) or ""):
            logprobs = field == "content" and choice["logprobs"]
            yield _piece(choice, {field: text}, logprobs=_logprobs(text) if logprobs else None)
    for index, call in enumerate(message.get("tool_calls", [])):
        begun = {**call, "function": {**call["function"], "arguments": ""}}
        yield _piece(choice, {"tool_calls": [{"index": index, **begun}]})
        for text in pieces(call["function"]["arguments"]):
            yield _piece(choice, {"tool_calls": [{"index": index, "function": {"arguments": text}}]})
    yield {**_piece(choice, {}), "finish_reason": choice["finish_reason"]}


def _piece(choice: Mapping[str, Any], delta: Any, *, logprobs: Any = None) -> dict[str, Any]:
    return {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": None}
