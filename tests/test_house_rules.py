"""Rules of the house that no linter knows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("config", "tenants", "metering", "billing", "cacheproxy", "examples", "benchmarks")
LONGEST_FUNCTION = 70
LONGEST_FILE = 400
MAY_HOLD_FLOATS = {"metering/models.py", "metering/usage_event.py"}  # the similarity of a semantic hit


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "migrations" not in path.parts)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", list(sources("billing", "metering")), ids=named)
def test_no_float_touches_tokens_or_money(path: Path) -> None:
    if named(path) in MAY_HOLD_FLOATS:
        return
    floats = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]
    assert not floats, f"{named(path)} uses floats at lines {floats}"


@pytest.mark.parametrize("path", list(sources(*FOLDERS)), ids=named)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE, f"{named(path)}: split it by noun"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{named(path)}:{node.lineno} {node.name} has {length} lines"


def test_the_gateway_loads_no_framework() -> None:
    code = (
        "import sys, cacheproxy.gateway.asgi\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'django', 'rest_framework', 'celery', 'stripe', 'config'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_stripe_is_imported_in_one_place() -> None:
    importing = [
        named(path)
        for path in sources("config", "tenants", "metering", "billing", "cacheproxy")
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "stripe" for alias in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stripe")
    ]
    assert set(importing) <= {"billing/stripe_gateway.py"}


def test_requirements_name_no_registry() -> None:
    for path in (ROOT / "requirements").iterdir():
        text = path.read_text()
        assert "://" not in text
        assert "index-url" not in text
