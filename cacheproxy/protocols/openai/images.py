"""Images from a prompt.

Images are sampled, as chats are, and are cached like them where the model's policy says so; a caller who wants
another one asks with `Cache-Control: no-cache`. An answer that only links to its images does not last: the links
die within the hour (`lasts`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.openai.fields import OpenAIDialect, checked, flag, model_of, objects, read_object
from cacheproxy.protocols.openai.stream import TypedReader
from cacheproxy.protocols.request import (
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    StreamReader,
    UpstreamCall,
)
from cacheproxy.protocols.sse import named_frame
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_COMPLETED = "image_generation.completed"
_OF_THE_IMAGE = ("b64_json", "revised_prompt")
_SUMMED = ("input_tokens", "output_tokens", "total_tokens")


class ImagesDialect(OpenAIDialect):
    """OpenAI's image generations."""

    surface = "images.generations"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return an images request. The model is in the body."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        checked(fields, "prompt", str, "a non-empty string")
        number = fields.get("n")
        if number is not None and (type(number) is not int or number < 1):
            raise InvalidRequest("n must be a positive integer.", code="invalid_field", param="n")
        stream, caller = (
            flag(fields, "stream", "stream"),
            fields.get("safety_identifier") or fields.get("user"),
        )
        stamp = {"safety_identifier": caller} if caller else None
        return InferenceRequest(model=model, document=fields, stream=stream, stamp=stamp)

    def deciding(self, request: InferenceRequest) -> dict[str, Any]:
        """Return the fields that decide; how many previews a stream has does not."""
        return {name: value for name, value in super().deciding(request).items() if name != "partial_images"}

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model."""
        return UpstreamCall(
            "/images/generations", document.write({**request.document, "model": upstream_model})
        )

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether there are images."""
        images = objects(answer.get("data")) if isinstance(answer, dict) and not answer.get("error") else []
        return bool(images) and all(image.get("b64_json") or image.get("url") for image in images)

    def lasts(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether the images are in the answer itself."""
        return all(image.get("b64_json") for image in objects(answer.get("data")))

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule or the report says, else the number of images as units."""
        reported = super().usage(request, answer, metering, body_size)
        if reported is not None or not self.is_answer(request, answer):
            return reported
        return UsageReport(units=len(answer["data"]))

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the prompt."""
        return UsageReport(TokenPools(input=text_tokens(request.document["prompt"])))

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a stream of images."""
        return ImageReader(images=request.document.get("n") or 1)

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterator[bytes]:
        """Return the stored images as a stream without previews."""
        return _replay(document.read(answer))


class ImageReader(TypedReader):
    """The state of one stream of so many images, as `cacheproxy.protocols.request.StreamReader` describes it."""

    max_event_bytes = 64 * 1024 * 1024

    def __init__(self, *, images: int) -> None:
        super().__init__()
        self._wanted = images
        self._told: list[dict[str, Any]] = []

    def take_in(self, kind: str, event: dict[str, Any]) -> None:
        """Keep an image that is complete; previews are nothing to keep."""
        if kind == _COMPLETED:
            self._told.append(event)
            self.finished = len(self._told) >= self._wanted

    def whole(self) -> dict[str, Any] | None:
        """Return the images with what was said of them."""
        return self.so_far() if len(self._told) == self._wanted else None

    def so_far(self) -> dict[str, Any]:
        """Return the images that are complete."""
        if not self._told:
            return {}
        rest = {name: value for name, value in self._told[0].items() if name not in _OF_THE_IMAGE}
        del rest["type"]
        created = {"created": rest.pop("created_at")} if "created_at" in rest else {}
        data = [{name: told[name] for name in _OF_THE_IMAGE if name in told} for told in self._told]
        return {**created, **rest, "data": data, **_usage([told.get("usage") for told in self._told])}


def _usage(usages: list[Any]) -> dict[str, Any]:
    """Return the usage of all images: of one as it is, of several the sums."""
    reported = objects([usage for usage in usages if usage is not None])
    if len(reported) <= 1:
        return {"usage": reported[0]} if reported else {}
    figures = {name: [usage.get(name) for usage in reported] for name in _SUMMED}
    return {"usage": {name: sum(said) for name, said in figures.items() if all(type(n) is int for n in said)}}


def _replay(answer: dict[str, Any]) -> Iterator[bytes]:
    """Return one event for each image; the first has the usage of all."""
    shared = {name: value for name, value in answer.items() if name not in ("created", "data", "usage")}
    if "created" in answer:
        shared["created_at"] = answer["created"]
    for place, image in enumerate(objects(answer["data"])):
        usage = {"usage": answer["usage"]} if place == 0 and "usage" in answer else {}
        event = {"type": _COMPLETED, **shared, **image, **usage}
        yield named_frame(_COMPLETED, document.write(event))


DIALECT: Dialect = ImagesDialect()
