"""A real OCR model behind HTTP: RapidOCR (PP-OCR, its models are inside the wheel) served by LitServe.

    python -m examples.upstreams.ocr_server --port 9100 [--threads 1]

`POST /predict` takes a PNG or JPEG in one of four forms: `{"image": "<base64>"}`, the same as a data URL, a form with
the file `image`, or the image itself as the body, of the type `image/*`. Any other field is left alone. It answers

    {"text": "…",
     "lines": [{"text": "…", "score": 0.998, "box": [[x, y], [x, y], [x, y], [x, y]]}],
     "usage": {"input_tokens": 432, "output_tokens": 61}}

with the lines in reading order, boxes in pixels of the image (clockwise from the top left corner) and tokens
as counted in `examples.upstreams.tokens`: input is the image in patches, output the words and punctuation
marks read. No image, or one that cannot be decoded, is a 400 that says why.
"""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import litserve
import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import Headers, UploadFile
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.upstreams import loopback, serving, tokens

MAX_PIXELS = 25_000_000


class Line(NamedTuple):
    """A line of text as read: how sure the model is (0 to 1) and where it stands (four corners in pixels)."""

    text: str
    score: float
    box: list[list[int]]


class OcrApi(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """Read the text of one image per request."""

    def __init__(self, *, threads: int) -> None:
        super().__init__()
        self.threads = threads

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the models and read one blank page, so that the first customer does not pay for warming up."""
        from rapidocr import RapidOCR

        self.reader: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # pages stand upright; the classifier only tells up from down
                "EngineConfig.onnxruntime.intra_op_num_threads": self.threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        self.predict(np.full((480, 480, 3), 255, dtype=np.uint8))

    def decode_request(self, request: Request) -> NDArray[np.uint8]:
        """Return the image of a request as RGB pixels.

        Annotated so, LitServe gives what it has read of the request: a document or a form.

        Raises:
            HTTPException: 400 where there is no image, or none that can be decoded.
        """
        read: Any = request
        image = read.get("image") if isinstance(read, Mapping) else None
        if isinstance(image, UploadFile):
            return decode_image(image.file.read())
        if not isinstance(image, str):
            raise HTTPException(400, "field 'image' must be a string, a PNG or JPEG in base64, or a file")
        return decode_image(_bytes_in(image))

    def predict(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[Line]]:
        """Return the image with the lines read from it."""
        found = self.reader(image)
        if not found.txts:
            return image, []
        corners = found.boxes.round().astype(int).tolist()
        return image, [
            Line(*line) for line in zip(found.txts, map(float, found.scores), corners, strict=True)
        ]

    def encode_response(self, output: tuple[NDArray[np.uint8], list[Line]]) -> dict[str, Any]:
        """Return the answer of this server's contract (see the module)."""
        image, lines = output
        text = "\n".join(line.text for line in lines)
        height, width = image.shape[:2]
        usage = {
            "input_tokens": tokens.image_tokens(width, height),
            "output_tokens": len(tokens.text_tokens(text)),
        }
        return {"text": text, "lines": [line._asdict() for line in lines], "usage": usage}


class BareImages:
    """Lets an image that is the whole body in as a document, which is what LitServe reads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, that of a bare image as a document with it."""
        if scope["type"] != "http" or not Headers(scope=scope).get("content-type", "").startswith("image/"):
            await self._app(scope, receive, send)
            return
        image = await Request(scope, receive).body()
        body = json.dumps({"image": base64.b64encode(image).decode()}).encode()

        async def document() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._app({**scope, "headers": headers}, document, send)


def decode_image(encoded: bytes) -> NDArray[np.uint8]:
    """Return the RGB pixels of a PNG or JPEG of at most 25 million pixels.

    Raises:
        HTTPException: 400 with the reason.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise HTTPException(400, f"the image has more than {MAX_PIXELS} pixels")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise HTTPException(400, "field 'image' is not a readable PNG or JPEG") from error


def _bytes_in(text: str) -> bytes:
    """Return what base64, or a data URL in base64, holds.

    Raises:
        HTTPException: 400, it is neither.
    """
    head, comma, data = text.rpartition(",")
    try:
        if comma and not head.endswith(";base64"):
            raise HTTPException(400, "field 'image' is not base64")
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise HTTPException(400, "field 'image' is not base64") from error


def main() -> None:
    """Serve until told to stop."""
    parser = loopback.port_parser("Serve RapidOCR on loopback.", default=9100)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the model (default 1)")
    options = parser.parse_args()
    serving.serve(
        name="OCR", apis=[OcrApi(threads=options.threads)], port=options.port, middlewares=[BareImages]
    )


if __name__ == "__main__":
    main()
