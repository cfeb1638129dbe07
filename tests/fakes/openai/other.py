"""Every surface but chats and responses."""

import base64
import email.parser
import email.policy
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.openai.words import digest, event, named_event, pieces, tokens
from tests.fakes.upstream import Received

DIMENSIONS = 4


def completion(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the completion of each prompt: itself in capitals."""
    prompts = fields["prompt"] if isinstance(fields["prompt"], list) else [fields["prompt"]]
    choices = [
        {
            "index": index,
            "text": prompt.upper(),
            "logprobs": _legacy_logprobs(pieces(prompt.upper())) if fields.get("logprobs") else None,
            "finish_reason": "stop",
        }
        for index, prompt in enumerate(prompts)
    ]
    given, output = sum(map(tokens, prompts)), sum(tokens(choice["text"]) for choice in choices)
    return {
        "id": f"cmpl-{digest(prompts)}",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": fields["model"],
        "choices": choices,
        "usage": {"prompt_tokens": given, "completion_tokens": output, "total_tokens": given + output},
    }


def completion_chunks(told: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Return the completion's stream."""
    head = {name: told[name] for name in ("id", "object", "created", "model")}
    for choice in told["choices"]:
        for piece in pieces(choice["text"]):
            logprobs = choice["logprobs"] and _legacy_logprobs([piece])
            yield event(
                {**head, "choices": [{**choice, "text": piece, "logprobs": logprobs, "finish_reason": None}]}
            )
        yield event({**head, "choices": [{**choice, "text": "", "logprobs": None}]})
    if (fields.get("stream_options") or {}).get("include_usage"):
        yield event({**head, "choices": [], "usage": told["usage"]})
    yield b"data: [DONE]\n\n"


def _legacy_logprobs(texts: list[str]) -> dict[str, Any]:
    figures = [-0.25 for _ in texts]
    return {
        "tokens": texts,
        "token_logprobs": figures,
        "top_logprobs": None,
        "text_offset": [0 for _ in texts],
    }


def embeddings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a vector for each input, as `encoding_format` says."""
    given = fields["input"]
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    vectors = [_vector(text, fields.get("dimensions") or DIMENSIONS) for text in inputs]
    if fields.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() for vector in vectors]
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
    ]
    used = sum(map(tokens, inputs))
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": data, "model": fields["model"], "usage": usage}


def _vector(text: Any, dimensions: int) -> Any:
    known = digest(text)
    return [int(known[2 * place : 2 * place + 2], 16) / 256 for place in range(dimensions)]


def moderations(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is held against each input: violence, where it says so."""
    inputs = fields["input"] if isinstance(fields["input"], list) else [fields["input"]]
    results = [
        {
            "flagged": "violence" in text,
            "categories": {"violence": "violence" in text, "harassment": False},
            "category_scores": {"violence": 0.75 if "violence" in text else 0.25, "harassment": 0.125},
            "category_applied_input_types": {"violence": ["text"], "harassment": ["text"]},
        }
        for text in inputs
    ]
    return {"id": f"modr-{digest(inputs)}", "model": fields["model"], "results": results}


def images(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return pictures that are their prompt."""
    data = [
        {"b64_json": base64.b64encode(f"{fields['prompt']} {number}".encode()).decode()}
        for number in range(fields.get("n") or 1)
    ]
    usage = {
        "input_tokens": 10,
        "output_tokens": 100 * len(data),
        "total_tokens": 10 + 100 * len(data),
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
    }
    described = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    return {"created": 1_700_000_000, "data": data, **described, "usage": usage}


def image_events(told: Mapping[str, Any]) -> Iterator[bytes]:
    """Return the pictures' stream: a preview of each, then itself."""
    shared = {name: told[name] for name in ("background", "output_format", "quality", "size")}
    shared["created_at"] = told["created"]
    for image in told["data"]:
        preview = {"type": "image_generation.partial_image", "partial_image_index": 0}
        yield named_event({**preview, **shared, "b64_json": image["b64_json"][:4]})
        yield named_event({"type": "image_generation.completed", **shared, **image, "usage": told["usage"]})


def form(call: Received) -> dict[str, bytes]:
    """Return the fields of a form, files among them."""
    head = f"content-type: {call.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + call.body)
    fields: dict[str, Any] = {}
    for part in message.iter_parts():
        fields[str(part.get_param("name", header="content-disposition"))] = part.get_payload(decode=True)
    return fields


def transcription(fields: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what a file says, which is what is in it."""
    text = fields["file"].decode()
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
        "output_tokens": tokens(text),
        "total_tokens": 14 + tokens(text),
    }
    if fields.get("response_format") == b"verbose_json":
        segment = {"id": 0, "start": 0.0, "end": 2.5, "text": text}
        return {
            "task": "transcribe",
            "language": "english",
            "duration": 2.5,
            "text": text,
            "segments": [segment],
            "usage": {"type": "duration", "seconds": 3},
        }
    return {"text": text, "usage": usage}


def transcription_events(told: Mapping[str, Any]) -> Iterator[bytes]:
    """Return the transcription's stream."""
    for piece in pieces(told["text"]):
        yield event({"type": "transcript.text.delta", "delta": piece})
    yield event({"type": "transcript.text.done", **told})


def rerank(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the documents by how many words of the query they have, as Jina does."""
    query = set(fields["query"].lower().split())
    scored: list[dict[str, Any]] = [
        {"index": index, "relevance_score": len(query & set(text.lower().split())) / len(query)}
        for index, text in enumerate(fields["documents"])
    ]
    scored.sort(key=lambda result: -result["relevance_score"])
    if fields.get("return_documents"):
        scored = [{**result, "document": {"text": fields["documents"][result["index"]]}} for result in scored]
    used = sum(tokens(fields["query"]) + tokens(text) for text in fields["documents"])
    return {
        "model": fields["model"],
        "results": scored[: fields.get("top_n") or None],
        "usage": {"total_tokens": used},
    }
