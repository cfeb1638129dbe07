import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder that lasts for a module of tests.

    Not pytest's own: started by root, PostgreSQL runs as another user and opens the path to its data, which the next
    run of pytest on the machine would close again.
    """
    with tempfile.TemporaryDirectory(prefix="zerorate-journey-") as path:
        yield Path(path)
