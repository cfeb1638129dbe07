"""`manage.py export_usage`."""

import csv
import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.factories.tenants import TenantFactory
from tests.factories.usage import use

pytestmark = pytest.mark.django_db


def export(*arguments: str) -> str:
    out = io.StringIO()
    call_command("export_usage", "--tenant", "acme", "--month", "2026-11", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def events() -> None:
    for slug, calls in (("acme", 3), ("stranger", 2)):
        tenant = TenantFactory.create(slug=slug)
        for _ in range(calls):
            use(tenant.pk)


def test_to_standard_output() -> None:
    assert len(list(csv.DictReader(io.StringIO(export())))) == 3


def test_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    assert export("--output", str(path)) == ""
    assert path.read_text() == export()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"usage\.csv: No such file"):
        export("--output", str(tmp_path / "missing" / "usage.csv"))


def test_a_tenant_that_is_none() -> None:
    with pytest.raises(CommandError, match=r"Did you mean acme\?"):
        call_command("export_usage", "--tenant", "acne", "--month", "2026-11")


def test_a_month_that_is_none() -> None:
    with pytest.raises(CommandError, match="YYYY-MM"):
        call_command("export_usage", "--tenant", "acme", "--month", "11/2026")
