"""How the example upstreams count tokens, so that every figure of the demo can be recounted by hand.

Text: one token per word (a run of letters, digits and underscores) and one per other visible character.
Images: one token per patch of 28 × 28 pixels, patches at the edges included, as Qwen-VL and its kin count.
"""

import re

PATCH_PIXELS = 28

_TOKEN = re.compile(r"\w+|[^\w\s]")


def text_tokens(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in order."""
    return _TOKEN.findall(text)


def image_tokens(width: int, height: int) -> int:
    """Return how many patches of 28 × 28 pixels cover an image of that size in pixels."""
    return -(-width // PATCH_PIXELS) * -(-height // PATCH_PIXELS)
