"""Our own API under what its OpenAPI allows and what it does not: never a 500, and every refusal is a problem+json."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core import signals
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import application
from metering.periods import month
from tests.billing.api.conftest import Caller
from tests.factories.invoices import issue

SCHEMA = schemathesis.openapi.from_wsgi("/api/v1/schema", application)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
BOUNDED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)
READING = {"GET", "HEAD"}
NUMBER = "INV-2026-000001"


@pytest.fixture
def callers(acme: Caller, stranger: Caller) -> Iterator[dict[str, dict[str, str]]]:
    """Give the headers of who may see the one invoice, of a stranger, and of nobody."""
    issue(acme.tenant, NUMBER, month("2026-09"))
    ends = (signals.request_started, signals.request_finished)
    for end in ends:  # as Django's own test client does: the test's transaction must outlive a request
        end.disconnect(close_old_connections)
    here = {"Host": "localhost"}  # of another host nothing is answered
    yield {"acme": acme.headers | here, "stranger": stranger.headers | here, "nobody": here}
    for end in ends:
        end.connect(close_old_connections)


@pytest.mark.parametrize("who", ["acme", "stranger", "nobody"])
@SCHEMA.parametrize()
@BOUNDED
def test_any_call_is_answered_clearly(
    case: schemathesis.Case[Any], who: str, callers: dict[str, dict[str, str]]
) -> None:
    if "number" in case.path_parameters and who != "nobody":
        case.path_parameters = (
            {"number": NUMBER} if len(case.path_parameters["number"]) % 2 else case.path_parameters
        )
    response = case.call(headers=callers[who])
    says_nothing = "" in (case.query or {}).values()  # which is taken as not being there
    case.validate_response(response, checks=CHECKS[:-1] if says_nothing else CHECKS)
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["code"]
        assert "Traceback" not in response.text
    if who == "nobody":
        assert response.status_code in {401, 404}
    if who == "stranger" and "number" in case.path:
        assert response.status_code == (
            200 if case.method == "OPTIONS" else 404 if case.method in READING else 405
        )
