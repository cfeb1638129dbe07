"""A good request and a good answer of every surface, to be spoilt."""

import base64
from typing import Any, NamedTuple

SSE = "text/event-stream"


class Sample(NamedTuple):
    """One surface: where it lives, what it is asked, what its server says."""

    path: str
    model: str
    protocol: str
    request: dict[str, Any]
    answer: dict[str, Any]


HI = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:"}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "2"},
]
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 2},
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "usage": USAGE,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "small",
    "output": [
        {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 4,
        "output_tokens": 2,
        "total_tokens": 6,
        "input_tokens_details": {"cached_tokens": 0},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "small",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}],
    "usage": {
        "input_tokens": 4,
        "output_tokens": 2,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    },
}
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1.5]}
FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ngpt\r\n--b--\r\n'

SAMPLES = {
    sample.path: sample
    for sample in (
        Sample(
            "/v1/chat/completions",
            "gpt",
            "openai",
            {
                "model": "gpt",
                "messages": HI,
                "stream": False,
                "stream_options": {"include_usage": True},
                "n": 1,
                "temperature": 0.5,
                "max_tokens": 9,
                "max_completion_tokens": 9,
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "response_format": {"type": "text"},
                "metadata": {"a": "b"},
                "user": "u",
                "store": False,
                "logprobs": True,
                "cache": {"no-cache": False, "ttl": 60},
            },
            CHAT,
        ),
        Sample(
            "/v1/completions",
            "gpt",
            "openai",
            {
                "model": "gpt",
                "prompt": ["Once", "Twice"],
                "stream": False,
                "max_tokens": 9,
                "n": 1,
                "best_of": 1,
                "suffix": "x",
            },
            {
                **CHAT,
                "object": "text_completion",
                "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}],
            },
        ),
        Sample(
            "/v1/embeddings",
            "gpt",
            "openai",
            {
                "model": "gpt",
                "input": ["one", "two"],
                "encoding_format": "float",
                "dimensions": 2,
            },
            {
                "object": "list",
                "model": "small",
                "usage": {"prompt_tokens": 4, "total_tokens": 4},
                "data": [{"object": "embedding", "index": n, "embedding": [0.5, n]} for n in range(2)],
            },
        ),
        Sample(
            "/v1/responses",
            "gpt",
            "openai",
            {
                "model": "gpt",
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
                "stream": False,
                "instructions": "x",
                "tools": [{"type": "web_search"}],
                "previous_response_id": None,
                "background": False,
                "max_output_tokens": 9,
                "store": False,
                "include": [],
                "reasoning": {"effort": "low"},
            },
            RESPONSE,
        ),
        Sample(
            "/v1/moderations",
            "gpt",
            "openai",
            {"model": "gpt", "input": ["a", "b"]},
            {"id": "m", "model": "small", "results": [{"flagged": False}, {"flagged": True}]},
        ),
        Sample(
            "/v1/images/generations",
            "gpt",
            "openai",
            {
                "model": "gpt",
                "prompt": "a cat",
                "n": 1,
                "size": "1x1",
                "stream": False,
                "partial_images": 0,
                "response_format": "b64_json",
            },
            {
                "created": 1,
                "data": [{"b64_json": base64.b64encode(b"png").decode()}],
                "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            },
        ),
        Sample(
            "/v1/rerank",
            "gpt",
            "openai",
            {
                "model": "gpt",
                "query": "q",
                "documents": ["a", {"text": "b"}],
                "top_n": 2,
                "return_documents": True,
            },
            {
                "id": "r",
                "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
                "meta": {"billed_units": {"search_units": 1}},
                "usage": {"total_tokens": 4},
            },
        ),
        Sample(
            "/v1/messages",
            "claude",
            "anthropic",
            {
                "model": "claude",
                "max_tokens": 9,
                "system": [{"type": "text", "text": "Be brief."}],
                "stream": False,
                "stop_sequences": ["x"],
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}],
                    }
                ],
                "tools": [{"name": "f", "input_schema": {"type": "object"}}],
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "metadata": {"user_id": "u"},
                "temperature": 0.5,
            },
            MESSAGE,
        ),
        Sample(
            "/v1/messages/count_tokens",
            "claude",
            "anthropic",
            {
                "model": "claude",
                "messages": [{"role": "user", "content": "Hi"}],
                "system": "x",
                "tools": [],
            },
            {"input_tokens": 9},
        ),
        Sample(
            "/v1/predict/ocr",
            "ocr",
            "predict",
            {"items": [{"text": "a"}, {"text": "b"}], "request_id": "1", "threshold": 0.5},
            {"output": [1, 2], "usage": {"input_tokens": 7, "output_tokens": 3}},
        ),
        Sample(
            "/v2/models/iris/infer",
            "iris",
            "oip",
            {
                "id": "1",
                "inputs": [TENSOR],
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
                "parameters": {"p": 1},
            },
            {"model_name": "small", "model_version": "1", "id": "1", "outputs": [{**TENSOR, "name": "y"}]},
        ),
    )
}
