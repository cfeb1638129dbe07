"""What was learned or distilled, as it is kept in files: arrays by name, of a format that is stated among them."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.errors import InvalidVerifier

Arrays = dict[str, NDArray[Any]]


def read_arrays(path: Path, *, expected_format: int) -> Arrays:
    """Return the arrays in *path*.

    Raises:
        InvalidVerifier: it has none, or they are of another format.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise InvalidVerifier(f"{path}: {error}") from error
    if arrays.get("format") != expected_format:
        raise InvalidVerifier(f"{path}: of format {arrays.get('format')}, not {expected_format}")
    return arrays
