"""Responses, plain and in events: a thought where `reasoning` is asked for, then a call of each tool, or a message."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.openai.words import digest, filled, named_event, pieces, tokens

DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def reply(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response that answers a request."""
    output = _output(fields)
    given, written = tokens([fields["input"], fields.get("tools")]), tokens(output)
    repeated = {name: fields[name] for name in DEFAULTS if fields.get(name) is not None}
    return {
        "id": f"resp_{digest(fields['input'])}",
        "object": "response",
        "created_at": 1_700_000_000,
        "completed_at": 1_700_000_001,
        "status": "completed",
        **DEFAULTS,
        **repeated,
        "model": fields["model"],
        "output": output,
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 3 if fields.get("reasoning") else 0},
            "total_tokens": given + written,
        },
    }


def events(told: Mapping[str, Any]) -> Iterator[bytes]:
    """Return the response's stream, numbered."""
    begun = {**told, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    for number, document in enumerate(_events(told, begun)):
        yield named_event({**document, "sequence_number": number})


def _events(told: Mapping[str, Any], begun: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(told["output"]):
        at = {"output_index": index}
        yield {"type": "response.output_item.added", **at, "item": _announced(item)}
        yield from ({**document, **at, "item_id": item["id"]} for document in _inside(item))
        yield {"type": "response.output_item.done", **at, "item": item}
    yield {"type": "response.completed", "response": told}


def _announced(item: Mapping[str, Any]) -> dict[str, Any]:
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case _:
            return {**item, "summary": []}


def _inside(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    match item["type"]:
        case "message":
            yield from _message(item["content"][0])
        case "function_call":
            kind = "response.function_call_arguments"
            for piece in pieces(item["arguments"]):
                yield {"type": f"{kind}.delta", "delta": piece, "obfuscation": "xy"}
            yield {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]}
        case _:
            yield from _summary(item["summary"][0])


def _message(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": "", "logprobs": []}}
    for piece in pieces(part["text"]):
        logprobs = _logprobs(piece) if part["logprobs"] else []
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": logprobs}
    yield {
        "type": "response.output_text.done",
        **at,
        "text": part["text"],
        "logprobs": part["logprobs"],
    }
    yield {"type": "response.content_part.done", **at, "part": part}


def _summary(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"summary_index": 0}
    yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _output(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    text, items = _last_text(fields), list[dict[str, Any]]()
    name = digest(fields["input"])
    if fields.get("reasoning"):
        summary = [{"type": "summary_text", "text": f"They said: {text}."}]
        items.append({"id": f"rs_{name}", "type": "reasoning", "summary": summary})
    functions = [tool for tool in fields.get("tools") or [] if tool["type"] == "function"]
    if not functions:
        return [*items, _said(fields, text, name)]
    return items + [
        {
            "id": f"fc_{place}_{name}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{place}_{name}",
            "name": function["name"],
            "arguments": json.dumps(filled(function["parameters"], text)),
        }
        for place, function in enumerate(functions)
    ]


def _said(fields: Mapping[str, Any], text: str, name: str) -> dict[str, Any]:
    wanted = (fields.get("text") or {}).get("format") or {}
    said = json.dumps(filled(wanted["schema"], text)) if wanted.get("type") == "json_schema" else text.upper()
    logprobs = _logprobs(said) if "message.output_text.logprobs" in (fields.get("include") or ()) else []
    part = {"type": "output_text", "text": said, "annotations": [], "logprobs": logprobs}
    return {
        "id": f"msg_{name}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def _logprobs(text: str) -> list[dict[str, Any]]:
    return [
        {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces(text)
    ]


def _last_text(fields: Mapping[str, Any]) -> str:
    given = fields["input"]
    if isinstance(given, str):
        return given
    content = given[-1]["content"]
    return content if isinstance(content, str) else " ".join(part["text"] for part in content)
