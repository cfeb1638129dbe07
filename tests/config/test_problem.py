"""Errors of the API are problem documents that tell nothing of the inside."""

from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.errors import BillingError, PaymentRefused
from cacheproxy.errors import CacheError
from config import urls
from config.problem import CONTENT_TYPE, DOMAIN_ERRORS
from metering.errors import MeteringError
from tenants.errors import TenantError


class Faulty(APIView):
    """Fails as the path says."""

    def get(self, _request: Request, what: str) -> Response:
        raise {
            "defect": RuntimeError("SELECT secret FROM inside"),
            "domain": PaymentRefused("12.00 is more than is owed."),
            "parse": ParseError("Unexpected end."),
        }[what]


urlpatterns = [path("api/v1/faulty/<what>", Faulty.as_view()), *urls.urlpatterns]
handler400, handler404, handler500 = urls.handler400, urls.handler404, urls.handler500


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def problem_at(client: Client, url: str) -> dict[str, Any]:
    with override_settings(ROOT_URLCONF=__name__):
        response = client.get(url)
    assert response["Content-Type"] == CONTENT_TYPE
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    return body


def test_an_error_of_the_domain_keeps_its_code_and_status(client: Client) -> None:
    assert problem_at(client, "/api/v1/faulty/domain") == {
        "type": "urn:zerorate:problem:payment_refused",
        "title": "Payment refused",
        "status": 409,
        "detail": "12.00 is more than is owed.",
        "code": "payment_refused",
    }


def test_every_app_s_errors_are_known() -> None:
    assert set(DOMAIN_ERRORS) == {TenantError, MeteringError, BillingError, CacheError}


def test_a_defect_tells_nothing(client: Client) -> None:
    body = problem_at(client, "/api/v1/faulty/defect")
    assert (body["status"], body["code"]) == (500, "internal_error")
    assert "secret" not in str(body)


def test_what_the_framework_refuses_is_a_problem_too(client: Client) -> None:
    body = problem_at(client, "/api/v1/faulty/parse")
    assert (body["code"], body["detail"]) == ("malformed_request", "Unexpected end.")


def test_a_path_that_does_not_exist(client: Client) -> None:
    body = problem_at(client, "/api/v1/usages")
    assert (body["status"], body["code"]) == (404, "not_found")


def test_a_host_that_is_not_here(client: Client) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        response = client.get("/api/v1/usage", headers={"host": "no host"})
        page = client.get("/admin/", headers={"host": "no host"})
    assert (response.status_code, response["Content-Type"]) == (400, CONTENT_TYPE)
    assert response.json()["code"] == "malformed_request"
    assert (page.status_code, page["Content-Type"]) == (400, "text/html; charset=utf-8")


def test_pages_for_people_stay_pages(client: Client) -> None:
    response = client.get("/no-such-page")
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")
