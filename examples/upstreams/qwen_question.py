"""A chat completion as OpenAI's clients ask for it: checked, and reduced to what the Qwen server can do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

DEFAULT_LIMIT = 64
LONGEST_LIMIT = 4096
HOTTEST = 2.0
NOT_SERVED = ("stop", "tools", "functions", "logprobs", "logit_bias", "response_format")
"""Fields that would change the answer and that this server cannot follow."""


class Refused(Exception):
    """A request that cannot be served: why, its HTTP status, and the field at fault."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


class Question(NamedTuple):
    """What is asked for; `choices`, where there are any, are the only answers (vLLM's `structured_outputs`)."""

    model: str
    messages: Sequence[Mapping[str, str]]
    limit: int
    temperature: float
    top_p: float
    seed: int | None
    choices: Sequence[str]
    stream: bool
    with_usage: bool


def read(fields: Any) -> Question:
    """Return the question that a request's JSON asks.

    Raises:
        Refused: it is none, or asks for more than there is.
    """
    if not isinstance(fields, dict):
        raise Refused("The body must be a JSON object.")
    for name in NOT_SERVED:
        if fields.get(name):
            raise Refused(f"This server does not know '{name}'.", param=name)
    if fields.get("n") not in (None, 1):
        raise Refused("There is one answer to a question.", param="n")
    limit = "max_completion_tokens" if fields.get("max_completion_tokens") is not None else "max_tokens"
    options = fields.get("stream_options")
    return Question(
        model=str(fields.get("model", "")),
        messages=_messages(fields.get("messages")),
        limit=int(_number(fields, limit, DEFAULT_LIMIT, 1, LONGEST_LIMIT, whole=True)),
        temperature=_number(fields, "temperature", 1.0, 0, HOTTEST),
        top_p=_number(fields, "top_p", 1.0, 0, 1),
        seed=None
        if fields.get("seed") is None
        else int(_number(fields, "seed", 0, 0, 2**63 - 1, whole=True)),
        choices=_choices(fields.get("structured_outputs")),
        stream=bool(fields.get("stream")),
        with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _messages(given: Any) -> list[dict[str, str]]:
    if not isinstance(given, list) or not given:
        raise Refused("'messages' must be a list with a message in it.", param="messages")
    return [_message(message, f"messages.{place}") for place, message in enumerate(given)]


def _message(given: Any, param: str) -> dict[str, str]:
    if not isinstance(given, dict) or given.get("role") not in ("system", "user", "assistant"):
        raise Refused("A message is of the system, the user or the assistant.", param=param)
    content = given.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in parts
    ):
        raise Refused("The content of a message is text.", param=f"{param}.content")
    return {"role": given["role"], "content": "\n".join(part["text"] for part in parts)}


def _choices(given: Any) -> list[str]:
    if given is None:
        return []
    choices = given.get("choice") if isinstance(given, dict) and given.keys() == {"choice"} else None
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(text, str) and text for text in choices)
    ):
        raise Refused("'structured_outputs' can be a 'choice' of texts.", param="structured_outputs")
    return choices


def _number(
    fields: Mapping[str, Any], name: str, default: float, least: float, most: float, *, whole: bool = False
) -> float:
    given = fields.get(name)
    if given is None:
        return default
    kind = int if whole else (int, float)
    if isinstance(given, bool) or not isinstance(given, kind) or not least <= given <= most:
        raise Refused(f"'{name}' must be a number from {least} to {most}.", param=name)
    return given
