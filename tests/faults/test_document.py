"""The document says what the tables say."""

from tests.faults.document import PATH, render


def test_the_failure_matrix_is_in_step() -> None:
    assert PATH.read_text() == render(), "run: .venv/bin/python -m tests.faults.document"
