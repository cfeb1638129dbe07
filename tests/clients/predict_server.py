"""A real LitServe server, three ways of taking an image: base64 in JSON, a file of a form, the body itself."""

import argparse
import base64
import io
from typing import Annotated, Any

import litserve
from fastapi import Body, Request
from PIL import Image

from examples.upstreams import serving


class Measure(litserve.LitAPI):
    """Tell how large an image is."""

    def setup(self, device: str) -> None:
        """Do nothing: there is no model to load."""

    def predict(self, picture: bytes) -> dict[str, Any]:
        """Return the image's size, and its pixels as usage."""
        with Image.open(io.BytesIO(picture)) as image:
            usage = {"input_tokens": image.width * image.height, "output_tokens": 2}
            return {"width": image.width, "height": image.height, "usage": usage}

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the output as it is."""
        return output


class Json(Measure):
    """The image is base64 in a document."""

    def decode_request(self, request: dict[str, Any]) -> bytes:
        """Return the image's bytes."""
        return base64.b64decode(request["image"])


class Form(Measure):
    """The image is a file."""

    def decode_request(self, request: Request) -> bytes:
        """Return the image's bytes. What LitServe gives where a Request is asked for is the form."""
        content: bytes = request["image"].file.read()
        return content


class Raw(Measure):
    """The image is the body."""

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """Return the image's bytes."""
        return request


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    apis = [Json(api_path="/json"), Form(api_path="/form"), Raw(api_path="/raw")]
    serving.serve(name="Measure", apis=apis, port=parser.parse_args().port)


if __name__ == "__main__":
    main()
