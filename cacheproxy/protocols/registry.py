"""Which dialect speaks at which path."""

from typing import NamedTuple

from cacheproxy.protocols import openai, predict
from cacheproxy.protocols.request import Dialect

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (openai.DIALECT, predict.DIALECT)}


class Route(NamedTuple):
    """Where a path leads. `model` is set where the path names it."""

    dialect: str
    surface: str
    model: str | None = None


ROUTES: dict[str, Route] = {
    "/v1/chat/completions": Route("openai", "chat.completions"),
    "/v1/embeddings": Route("openai", "embeddings"),
}
PREDICT_PREFIX = "/v1/predict/"


def find_route(path: str) -> Route | None:
    """Return where a decoded path leads, or None. A model's name may hold slashes."""
    model = path.removeprefix(PREDICT_PREFIX)
    if model and model != path:
        return Route("predict", "predict", model)
    return ROUTES.get(path)
