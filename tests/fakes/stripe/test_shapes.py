"""The hand-made shape table against the parameter types that Stripe generates from its published OpenAPI."""

import typing
from collections.abc import Mapping
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, NotRequired

import pytest
import stripe.params as published
from stripe import RequestOptions
from typing_extensions import is_typeddict

from tests.fakes.stripe.errors import RefusedError
from tests.fakes.stripe.forms import decode_form
from tests.fakes.stripe.shapes import FLAG, INTEGER, METADATA, SHAPES, TEXT, Required, read_params

PUBLISHED: dict[str, Any] = {
    "POST /v1/customers": published.CustomerCreateParams,
    "GET /v1/customers": published.CustomerListParams,
    "GET /v1/customers/{id}": published.CustomerRetrieveParams,
    "POST /v1/invoices": published.InvoiceCreateParams,
    "GET /v1/invoices": published.InvoiceListParams,
    "GET /v1/invoices/{id}": published.InvoiceRetrieveParams,
    "GET /v1/invoices/{id}/lines": published.InvoiceListLinesParams,
    "POST /v1/invoices/{id}/add_lines": published.InvoiceAddLinesParams,
    "POST /v1/invoices/{id}/finalize": published.InvoiceFinalizeInvoiceParams,
    "POST /v1/invoices/{id}/pay": published.InvoicePayParams,
    "POST /v1/invoices/{id}/void": published.InvoiceVoidInvoiceParams,
    "POST /v1/invoices/{id}/mark_uncollectible": published.InvoiceMarkUncollectibleParams,
}
SCALARS = {str: TEXT, int: INTEGER, bool: FLAG, Decimal: TEXT}


def published_hints(shape: Any) -> dict[str, Any]:
    """Return the parameters of a published type, without the options of the request that it inherits."""
    unresolved = {"StripeContext": object, "Mapping": Mapping}
    hints = typing.get_type_hints(shape, localns=unresolved, include_extras=True)
    return {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}


def agree(ours: Any, theirs: Any) -> bool:
    """Say whether a kind of ours is one that the published type takes, all the way down."""
    if isinstance(ours, Required):
        return agree(ours.kind, theirs)
    if typing.get_origin(theirs) in {NotRequired, typing.Required}:
        return agree(ours, typing.get_args(theirs)[0])
    if typing.get_origin(theirs) in {typing.Union, UnionType}:
        return any(agree(ours, option) for option in typing.get_args(theirs))
    if isinstance(ours, list):
        return typing.get_origin(theirs) is list and agree(ours[0], typing.get_args(theirs)[0])
    if isinstance(ours, dict):
        return is_typeddict(theirs) and not disagreements(ours, theirs)
    if isinstance(ours, tuple):
        return typing.get_origin(theirs) is Literal and set(ours) == set(typing.get_args(theirs))
    if ours is METADATA:
        return typing.get_origin(theirs) is dict
    return SCALARS.get(theirs) is ours


def disagreements(ours: dict[str, Any], theirs: Any) -> list[str]:
    """Name the parameters of ours that the published type does not have, has otherwise, or requires."""
    hints = published_hints(theirs)
    known = [f"{name}: not published so" for name, kind in ours.items() if not agree(kind, hints.get(name))]
    required = {name for name, hint in hints.items() if typing.get_origin(hint) is not NotRequired}
    demanded = {name for name, kind in ours.items() if isinstance(kind, Required)}
    return known + [f"{name}: required differs" for name in required ^ demanded]


def test_every_endpoint_has_a_published_type() -> None:
    assert PUBLISHED.keys() == SHAPES.keys()


@pytest.mark.parametrize("route", SHAPES)
def test_the_table_agrees_with_the_published_type(route: str) -> None:
    assert disagreements(SHAPES[route], PUBLISHED[route]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"customer": INTEGER},
        {"colour": TEXT},
        {"customer": Required(TEXT)},
        {"collection_method": ("send_invoice",)},
        {"metadata": TEXT},
        {"custom_fields": [{"name": TEXT, "value": Required(TEXT)}]},
    ],
)
def test_a_wrong_table_is_noticed(wrong: dict[str, Any]) -> None:
    assert disagreements(wrong, published.InvoiceCreateParams) != []


def test_a_form_is_read_into_typed_values() -> None:
    form = decode_form(
        "lines[0][amount]=-5&lines[0][metadata][a]=b&lines[1][discountable]=false&lines[1][amount]=7"
    )

    params = read_params(SHAPES["POST /v1/invoices/{id}/add_lines"], form)

    assert params == {"lines": [{"amount": -5, "metadata": {"a": "b"}}, {"discountable": False, "amount": 7}]}


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ("lines[0][colour]=red", "parameter_unknown", "lines[0][colour]"),
        ("", "parameter_missing", "lines"),
        ("lines[0][amount]=1.5", "parameter_invalid_integer", "lines[0][amount]"),
        ("lines[0][discountable]=maybe", "parameter_invalid", "lines[0][discountable]"),
        ("lines[0][period][start]=1", "parameter_missing", "lines[0][period][end]"),
        ("lines=5", "parameter_invalid", "lines"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(form: str, code: str, param: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read_params(SHAPES["POST /v1/invoices/{id}/add_lines"], decode_form(form))

    error = caught.value.body["error"]
    assert (error["code"], error["param"]) == (code, param)
