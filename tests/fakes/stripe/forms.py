"""Form bodies as the `stripe` library writes them: `lines[0][amount]=5` is a list of objects."""

import re
from typing import Any
from urllib.parse import parse_qsl


def decode_form(text: str) -> dict[str, Any]:
    """Return the nested dictionaries that a bracketed form spells; list positions stay keys ("0", "1", …)."""
    document: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        *path, leaf = re.findall(r"[^\[\]]+", key)
        node = document
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = value
    return document
