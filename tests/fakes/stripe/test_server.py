"""The fake, driven over HTTP by the real `stripe` library."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, NamedTuple

import pytest
import stripe

from tests.fakes.stripe.server import FakeStripe, lose_connection
from tests.fakes.stripe.webhooks import sign

# The fields that Stripe's published OpenAPI requires of an invoice.
INVOICE_FIELDS = {
    *("id", "object", "created", "livemode", "currency", "customer", "lines", "status_transitions"),
    *("subtotal", "total", "starting_balance", "issuer", "default_tax_rates", "discounts", "automatic_tax"),
    *(
        "amount_due",
        "amount_overpaid",
        "amount_paid",
        "amount_paid_off_stripe",
        "amount_remaining",
        "amount_shipping",
    ),
    *("attempt_count", "attempted", "auto_advance", "collection_method", "payment_settings"),
    *("period_end", "period_start", "post_payment_credit_notes_amount", "pre_payment_credit_notes_amount"),
}


class Shop(NamedTuple):
    """A fake Stripe and a client of it."""

    fake: FakeStripe
    client: stripe.StripeClient

    def customer(self) -> str:
        return self.client.v1.customers.create({"email": "billing@acme.example"}).id

    def draft(self, *, lines: int = 1) -> str:
        invoice = self.client.v1.invoices.create({"customer": self.customer(), "currency": "usd"})
        if lines:
            self.client.v1.invoices.add_lines(invoice.id, {"lines": [{"amount": 100}] * lines})
        return invoice.id

    def open(self) -> str:
        return self.client.v1.invoices.finalize_invoice(self.draft()).id


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(stripe, "enable_telemetry", False)
    http = stripe.RequestsClient(timeout=5)
    with FakeStripe() as fake:
        client = stripe.StripeClient(
            fake.api_key, base_addresses={"api": fake.url}, http_client=http, max_network_retries=0
        )
        yield Shop(fake, client)
        http.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def mailbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver of webhooks: its address and the events that it verified with Stripe's own library."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stripe.WebhookSignature.verify_header(body, self.headers["Stripe-Signature"], "whsec_fake", 300)
            received.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()
        thread.join()


def test_an_invoice_goes_from_draft_to_paid(shop: Shop) -> None:
    customer = shop.customer()
    draft = shop.client.v1.invoices.create(
        {
            "customer": customer,
            "currency": "eur",
            "auto_advance": False,
            "collection_method": "send_invoice",
            "days_until_due": 14,
            "number": "ACME-1",
            "pending_invoice_items_behavior": "exclude",
        }
    )
    shop.client.v1.invoices.add_lines(
        draft.id, {"lines": [{"amount": 1234, "description": "a"}, {"amount": 0}]}
    )
    opened = shop.client.v1.invoices.finalize_invoice(draft.id, {"auto_advance": False})
    paid = shop.client.v1.invoices.pay(draft.id, {"paid_out_of_band": True})

    assert (draft.status, opened.status, paid.status) == ("draft", "open", "paid")
    assert (opened.total, opened.amount_due, opened.number, opened.currency) == (1234, 1234, "ACME-1", "eur")
    assert opened.due_date == (opened.status_transitions.finalized_at or 0) + 14 * 86400
    assert (paid.amount_remaining, paid.amount_paid_off_stripe) == (0, 1234)


def test_an_invoice_shows_every_field_that_stripe_requires(shop: Shop) -> None:
    invoice = shop.client.v1.invoices.retrieve(shop.draft())

    assert set(invoice.to_dict()) >= INVOICE_FIELDS


def test_an_open_invoice_is_not_edited(shop: Shop) -> None:
    identifier = shop.open()

    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.invoices.add_lines(identifier, {"lines": [{"amount": 1}]})
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        shop.client.v1.invoices.finalize_invoice(identifier)

    assert (caught.value.http_status, caught.value.code) == (400, "invoice_not_editable")
    assert len(shop.fake.account.lines[identifier]) == 1


def test_only_open_invoices_are_voided_and_paid_ones_stay_paid(shop: Shop) -> None:
    draft, opened = shop.draft(), shop.open()
    shop.client.v1.invoices.mark_uncollectible(opened)
    shop.client.v1.invoices.void_invoice(opened)

    assert shop.client.v1.invoices.retrieve(opened).status == "void"
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.v1.invoices.void_invoice(draft)
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.v1.invoices.pay(opened, {"paid_out_of_band": True})


def test_a_declined_card_is_a_card_error(shop: Shop) -> None:
    with pytest.raises(stripe.CardError) as caught:
        shop.client.v1.invoices.pay(shop.open(), {"payment_method": "pm_card_chargeDeclined"})

    assert caught.value.code == "card_declined"


def test_more_lines_than_an_invoice_takes_are_refused(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="at most 250 lines"):
        shop.draft(lines=251)


def test_nothing_below_the_minimum_charge_is_collected(shop: Shop) -> None:
    customer = shop.customer()
    small = shop.client.v1.invoices.create({"customer": customer, "currency": "usd"})
    shop.client.v1.invoices.add_lines(small.id, {"lines": [{"amount": 12}]})
    settled = shop.client.v1.invoices.finalize_invoice(small.id)
    following = shop.client.v1.invoices.create({"customer": customer, "currency": "usd"})
    shop.client.v1.invoices.add_lines(following.id, {"lines": [{"amount": 100}]})
    due = shop.client.v1.invoices.finalize_invoice(following.id)

    assert (settled.status, settled.total, settled.amount_paid) == ("paid", 12, 0)
    assert (due.total, due.amount_due) == (100, 112)


def test_the_same_key_replays_the_first_answer(shop: Shop) -> None:
    customer = shop.customer()
    params: Any = {"customer": customer, "currency": "usd"}
    first = shop.client.v1.invoices.create(params, {"idempotency_key": "k1"})
    again = shop.client.v1.invoices.create(params, {"idempotency_key": "k1"})

    assert again.id == first.id
    assert len(shop.fake.account.invoices) == 1
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"


def test_the_same_key_with_other_parameters_is_refused(shop: Shop) -> None:
    customer = shop.customer()
    shop.client.v1.invoices.create({"customer": customer, "currency": "usd"}, {"idempotency_key": "k1"})

    with pytest.raises(stripe.IdempotencyError):
        shop.client.v1.invoices.create({"customer": customer, "currency": "eur"}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError):
        shop.client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"})


def test_a_refusal_is_replayed_but_a_malformed_request_spends_no_key(shop: Shop) -> None:
    empty = shop.draft(lines=0)
    unknown: Any = {"colour": "red"}
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter"):
        shop.client.v1.invoices.finalize_invoice(empty, unknown, {"idempotency_key": "k1"})
    with pytest.raises(stripe.InvalidRequestError, match="without lines"):
        shop.client.v1.invoices.finalize_invoice(empty, {}, {"idempotency_key": "k1"})
    shop.client.v1.invoices.add_lines(empty, {"lines": [{"amount": 100}]})

    with pytest.raises(stripe.InvalidRequestError, match="without lines"):
        shop.client.v1.invoices.finalize_invoice(empty, {}, {"idempotency_key": "k1"})
    assert shop.client.v1.invoices.finalize_invoice(empty, {}, {"idempotency_key": "k2"}).status == "open"


def test_an_unknown_parameter_is_refused(shop: Shop) -> None:
    unknown: Any = {"colour": "red"}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.customers.create(unknown)

    assert (caught.value.code, caught.value.param) == ("parameter_unknown", "colour")


def test_a_wrong_key_and_a_missing_object_are_refused(shop: Shop) -> None:
    with pytest.raises(stripe.AuthenticationError):
        shop.client.v1.invoices.retrieve("in_1", options={"api_key": "sk_test_other"})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.invoices.retrieve("in_1")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_lists_are_paged_newest_first(shop: Shop) -> None:
    identifiers = [shop.draft() for _ in range(5)]

    listed = shop.client.v1.invoices.list({"limit": 2})

    assert [invoice.id for invoice in listed.auto_paging_iter()] == identifiers[::-1]
    assert listed.has_more


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_lost_before_or_after_the_work(shop: Shop, when: str) -> None:
    getattr(shop.fake, when)["POST /v1/customers"].append(lose_connection)

    with pytest.raises(stripe.APIConnectionError):
        shop.customer()

    assert len(shop.fake.account.customers) == (when == "after")
    assert shop.customer()


def test_webhooks_are_signed_and_delivered_in_the_order_and_number_asked(
    shop: Shop, mailbox: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = mailbox
    shop.client.v1.invoices.pay(shop.open(), {"paid_out_of_band": True})
    kinds = [event["type"] for event in shop.fake.account.events]

    statuses = shop.fake.deliver(url, shop.fake.account.events[::-1], copies=2)

    assert kinds == [
        "customer.created",
        "invoice.created",
        "invoice.updated",
        "invoice.finalized",
        "invoice.paid",
    ]
    assert statuses == [200] * 10
    assert [event["type"] for event in received] == kinds[::-1] * 2
    assert len({event["id"] for event in received}) == 5


def test_an_event_is_a_snapshot_of_its_moment(shop: Shop) -> None:
    shop.client.v1.invoices.pay(shop.open(), {"paid_out_of_band": True})

    statuses = [event["data"]["object"].get("status") for event in shop.fake.account.events]

    assert statuses == [None, "draft", "draft", "open", "paid"]


def test_the_signature_is_the_one_that_stripes_library_makes() -> None:
    ours = sign(b'{"a": 1}', "whsec_x", at=1_700_000_000)

    assert ours == stripe.WebhookSignature.generate_signature_header('{"a": 1}', "whsec_x", 1_700_000_000)
