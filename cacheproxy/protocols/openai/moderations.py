"""Moderations: is this text, or image, fit to be said?"""

from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.openai.fields import OpenAIDialect, checked, model_of, read_object
from cacheproxy.protocols.request import Dialect, Incoming, InferenceRequest, UpstreamCall
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

DEFAULT_MODEL = "omni-moderation-latest"
"""What OpenAI takes where a request names no model, as requests that its clients send by themselves do."""


class ModerationsDialect(OpenAIDialect):
    """OpenAI's moderations. They report no usage: what they count is estimated, or a metering rule says it."""

    surface = "moderations"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return a moderations request. The model is in the body, or OpenAI's own."""
        fields = read_object(incoming.body)
        if fields.get("model") is None:
            fields["model"] = DEFAULT_MODEL
        model = model_of(fields)
        checked(fields, "input", (str, list), "a non-empty string or list")
        return InferenceRequest(model=model, document=fields)

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model."""
        return UpstreamCall("/moderations", document.write({**request.document, "model": upstream_model}))

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether there is a result, of several texts one for each (parts of one message share theirs)."""
        results = answer.get("results") if isinstance(answer, dict) and not answer.get("error") else None
        given = request.document["input"]
        texts = len(given) if isinstance(given, list) and isinstance(given[0], str) else 1
        return isinstance(results, list) and len(results) == texts

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts."""
        return UsageReport(TokenPools(input=text_tokens(request.document["input"])))


DIALECT: Dialect = ModerationsDialect()
