"""An encoder that is a model of the catalog: any server of OpenAI's ``/v1/embeddings``, by the gateway's own client."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from cacheproxy.gateway.catalog.catalog import Model
from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import UpstreamCall
from cacheproxy.semantic.embedding import Embedded
from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.errors import EncoderFailed


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Reply(msgspec.Struct):
    data: list[_Row]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Reply).decode


class RemoteEmbedder:
    """Asks a model's server, under all that holds for its other calls: time limits, breaker, failover."""

    def __init__(self, name: str, find: Callable[[str], Model | None], upstreams: Upstreams) -> None:
        self._model_name = name
        self._find = find
        self._upstreams = upstreams

    @property
    def name(self) -> str:
        """Return which vectors these are: a new version of the model gives others."""
        model = self._find(self._model_name)
        return f"{self._model_name}@{model.version if model else ''}"

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the unit vectors of *texts*, and the tokens that the server counted.

        Raises:
            EncoderFailed: there is no such model, its server does not answer, or answers something else.
        """
        model = self._find(self._model_name)
        if model is None or model.protocol != "openai":
            raise EncoderFailed(f"The catalog has no model {self._model_name} of the protocol openai.")

        def compose(upstream_model: str) -> UpstreamCall:
            return UpstreamCall(
                "/embeddings", msgspec.json.encode({"model": upstream_model, "input": list(texts)})
            )

        try:
            async with self._upstreams.exchange(model, compose, None) as exchange:
                answer = await exchange.read()
        except GatewayError as failure:
            raise EncoderFailed(f"{self._model_name}: {failure.message}") from failure
        if not answer.ok:
            raise EncoderFailed(f"{self._model_name} answers with status {answer.status}.")
        return self._read(answer.body, len(texts))

    def _read(self, body: bytes, count: int) -> Embedded:
        try:
            reply = _decode(body)
        except msgspec.DecodeError as error:
            raise EncoderFailed(f"{self._model_name} answers with no embeddings: {error}.") from error
        rows = sorted(reply.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(count)) or len({len(row.embedding) for row in rows}) > 1:
            raise EncoderFailed(f"{self._model_name} answers with other embeddings than it was asked for.")
        return Embedded(
            self._unit([row.embedding for row in rows]), reply.usage.prompt_tokens if reply.usage else 0
        )

    def _unit(self, rows: list[list[float]]) -> Vectors:
        vectors = np.array(rows, np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not vectors.size or not np.isfinite(lengths).all() or not lengths.all():
            raise EncoderFailed(f"{self._model_name} answers with a vector that has no direction.")
        unit: Vectors = vectors / lengths
        return unit
