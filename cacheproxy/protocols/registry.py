"""Which dialect speaks at which path."""

from typing import NamedTuple

from cacheproxy.protocols import predict
from cacheproxy.protocols.anthropic import count_tokens, messages
from cacheproxy.protocols.oip import infer
from cacheproxy.protocols.oip.paths import find_place
from cacheproxy.protocols.openai import (
    audio,
    chat,
    completions,
    embeddings,
    images,
    moderations,
    rerank,
    responses,
)
from cacheproxy.protocols.request import Dialect


class Route(NamedTuple):
    """Where a path leads. `model` and `version` are set where the path names them."""

    dialect: Dialect
    model: str = ""
    version: str = ""


ROUTES: dict[str, Route] = {
    "/v1/chat/completions": Route(chat.DIALECT),
    "/v1/completions": Route(completions.DIALECT),
    "/v1/embeddings": Route(embeddings.DIALECT),
    "/v1/messages": Route(messages.DIALECT),
    "/v1/messages/count_tokens": Route(count_tokens.DIALECT),
    "/v1/responses": Route(responses.DIALECT),
    "/v1/moderations": Route(moderations.DIALECT),
    "/v1/audio/transcriptions": Route(audio.TRANSCRIPTIONS),
    "/v1/audio/translations": Route(audio.TRANSLATIONS),
    "/v1/images/generations": Route(images.DIALECT),
    "/v1/rerank": Route(rerank.DIALECT),
}
PREDICT_PREFIX = "/v1/predict/"
ELSEWHERE = Route(chat.DIALECT)
"""Whose shape errors have at paths that lead nowhere."""


def find_route(path: str) -> Route | None:
    """Return where a decoded path leads, or None. A model's name may hold slashes."""
    if route := ROUTES.get(path):
        return route
    if (place := find_place(path)) and place.asked == "infer":
        return Route(infer.DIALECT, place.model, place.version)
    model = path.removeprefix(PREDICT_PREFIX)
    return Route(predict.DIALECT, model) if model and model != path else None
