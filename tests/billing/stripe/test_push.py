"""Pushing invoices to Stripe, over HTTP against the fake."""

import logging
import random
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from pytest_django import Settings

from billing.errors import (
    InvoiceNotCollectable,
    StripeCustomerTaken,
    StripeNotConfigured,
    StripeRefused,
    StripeUnavailable,
)
from billing.models import Invoice, StripeCustomer, StripeInvoice
from billing.services.collection import link_customer, push_invoice
from billing.services.payments import record_payment
from tenants.models import Tenant
from tests.billing.stripe.conftest import HIT, MISS, NOW, MakeInvoice
from tests.fakes.stripe.account import Account
from tests.fakes.stripe.errors import RefusedError
from tests.fakes.stripe.server import FakeStripe, Request, lose_connection

CREATE, LINES = "POST /v1/invoices", "POST /v1/invoices/{id}/add_lines"
FINALISE, CUSTOMER = "POST /v1/invoices/{id}/finalize", "POST /v1/customers"
ATTEMPTS = 3  # a call and its two retries


def only(things: dict[str, dict[str, Any]]) -> dict[str, Any]:
    [thing] = things.values()
    return thing


def someone_adds_a_line(account: Account, request: Request) -> None:
    account.add_lines(request.identifier, {"lines": [{"amount": 1}]})


def test_a_push_leaves_one_open_invoice_with_our_number_lines_and_total(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    invoice = make_invoice(MISS, HIT)

    row = push_invoice(invoice=invoice, now=NOW)

    remote = only(fake_stripe.account.invoices)
    lines = fake_stripe.account.lines[remote["id"]]
    assert (row.state, row.stripe_id, row.stripe_status, row.pushed_at) == (
        "pushed",
        remote["id"],
        "open",
        NOW,
    )
    assert row.hosted_url == remote["hosted_invoice_url"]
    assert (remote["status"], remote["total"], remote["currency"]) == ("open", 1234, "usd")
    assert (remote["number"], remote["metadata"]) == (invoice.number, {"zerorate_invoice": invoice.number})
    assert remote["due_date"] - remote["status_transitions"]["finalized_at"] == 30 * 86400
    assert [line["amount"] for line in lines] == [1234, 0]
    assert lines[1]["description"] == (
        "ocr, Input, exact hit: 12,345 in 3 calls; list price 4.00 USD, saved 4.00 USD"
    )


def test_a_draft_does_not_advance_by_itself_and_takes_no_pending_items(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    push_invoice(invoice=make_invoice(), now=NOW)

    [created] = fake_stripe.calls(CREATE)
    assert created.params["auto_advance"] == "false"
    assert created.params["pending_invoice_items_behavior"] == "exclude"


def test_pushing_twice_changes_nothing(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    invoice = make_invoice()
    push_invoice(invoice=invoice, now=NOW)
    calls = len(fake_stripe.requests)

    push_invoice(invoice=invoice, now=NOW)

    assert len(fake_stripe.requests) == calls


@pytest.mark.parametrize("days_later", [0, 2])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [CUSTOMER, CREATE, LINES, FINALISE])
def test_a_crash_at_any_step_and_a_second_run_leave_one_invoice(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, step: str, when: str, days_later: int
) -> None:
    invoice = make_invoice()
    getattr(fake_stripe, when)[step].extend([lose_connection] * ATTEMPTS)
    with pytest.raises(StripeUnavailable):
        push_invoice(invoice=invoice, now=NOW)
    if days_later:
        fake_stripe.keys.forget()

    row = push_invoice(invoice=invoice, now=NOW)

    remote = only(fake_stripe.account.invoices)
    assert (row.state, row.stripe_id, row.problem) == ("pushed", remote["id"], "")
    assert (remote["status"], remote["total"]) == ("open", invoice.net_minor)
    assert len(fake_stripe.account.lines[remote["id"]]) == 2


@pytest.mark.parametrize("seed", range(12))
def test_any_run_of_bad_luck_ends_in_one_invoice(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, seed: int
) -> None:
    chance, invoice = random.Random(seed), make_invoice()
    for _ in range(8):
        for step in (CUSTOMER, CREATE, LINES, FINALISE):
            hooks = chance.choice([fake_stripe.before, fake_stripe.after])[step]
            hooks.extend([lose_connection] * chance.choice([0, 1, ATTEMPTS]))
        if chance.random() < 0.3:
            fake_stripe.keys.forget()
        with suppress(StripeUnavailable):
            push_invoice(invoice=invoice, now=NOW)
    fake_stripe.before.clear()
    fake_stripe.after.clear()

    row = push_invoice(invoice=invoice, now=NOW)

    remote = only(fake_stripe.account.invoices)
    assert (row.state, remote["status"], remote["total"]) == ("pushed", "open", invoice.net_minor)
    assert len(fake_stripe.account.lines[remote["id"]]) == 2


def test_a_connection_lost_once_is_retried_under_the_same_key(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    fake_stripe.after[CREATE].append(lose_connection)

    push_invoice(invoice=make_invoice(), now=NOW)

    first, second = fake_stripe.calls(CREATE)
    assert first.key == second.key
    assert len(fake_stripe.account.invoices) == 1


def test_two_invoices_never_share_a_key(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    for _ in range(2):
        push_invoice(invoice=make_invoice(), now=NOW)

    keys = [request.key for request in fake_stripe.requests if request.key]
    assert len(keys) == len(set(keys)) == 1 + 2 * 3
    assert all(len(key) <= 255 for key in keys)


def test_a_total_that_differs_is_parked_and_not_finalised(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, caplog: pytest.LogCaptureFixture
) -> None:
    invoice = make_invoice()

    fake_stripe.before[LINES].append(someone_adds_a_line)
    with caplog.at_level(logging.ERROR):
        row = push_invoice(invoice=invoice, now=NOW)

    remote = only(fake_stripe.account.invoices)
    assert (row.state, row.stripe_id, remote["status"]) == ("parked", remote["id"], "draft")
    assert "1234 USD here and 1235 USD at Stripe" in row.problem
    assert "stripe_invoice_parked" in caplog.text
    assert not fake_stripe.calls(FINALISE)


@pytest.mark.parametrize("mended_by", ["another line", "deleting the draft"])
def test_a_parked_invoice_is_taken_up_again_once_it_is_mended(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, mended_by: str
) -> None:
    invoice = make_invoice()
    fake_stripe.before[LINES].append(someone_adds_a_line)
    parked = push_invoice(invoice=invoice, now=NOW)
    account, stripe_id = fake_stripe.account, parked.stripe_id or ""
    if mended_by == "another line":
        account.add_lines(stripe_id, {"lines": [{"amount": -1}]})
    else:
        del account.invoices[stripe_id]

    row = push_invoice(invoice=invoice, now=NOW)

    remote = only(account.invoices)
    assert (row.state, row.problem, row.stripe_id) == ("pushed", "", remote["id"])
    assert (remote["status"], remote["total"]) == ("open", 1234)


def test_a_refusal_is_parked_and_the_next_push_does_not_replay_it(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    invoice = make_invoice()

    def refuse(_account: Account, _request: Request) -> None:
        raise RefusedError("This account cannot finalise today.")

    fake_stripe.before[FINALISE].append(refuse)
    parked = push_invoice(invoice=invoice, now=NOW)
    pushed = push_invoice(invoice=invoice, now=NOW)

    assert (parked.state, parked.problem) == ("parked", "Stripe: This account cannot finalise today.")
    assert pushed.state == "pushed"


def test_a_failure_of_stripes_leaves_it_pending_with_the_problem(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    invoice = make_invoice()

    def fail(_account: Account, _request: Request) -> None:
        raise RefusedError("Sorry.", status=500, kind="api_error")

    fake_stripe.before[LINES].append(fail)
    with pytest.raises(StripeUnavailable):
        push_invoice(invoice=invoice, now=NOW)

    row = StripeInvoice.objects.get()
    assert (row.state, row.problem, row.tries) == ("pending", "Stripe: Sorry.", 1)
    assert push_invoice(invoice=invoice, now=NOW).state == "pushed"


def test_a_customer_without_an_address_parks_the_invoice(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, tenant: Tenant
) -> None:
    tenant.billing_email = ""
    tenant.save()

    row = push_invoice(invoice=make_invoice(), now=NOW)

    assert row.state == "parked"
    assert "Missing email" in row.problem


def test_an_invoice_that_is_partly_paid_is_parked(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    invoice = make_invoice()
    record_payment(invoice=invoice, amount_minor=1000, method="cash", received_at=NOW)

    row = push_invoice(invoice=invoice, now=NOW)

    assert (row.state, row.problem) == (
        "parked",
        "ZR-000001 owes 2.34 USD of 12.34 USD: collect the rest by hand.",
    )
    assert not fake_stripe.account.invoices


@pytest.mark.parametrize("status", ["paid", "void", "uncollectible"])
def test_only_an_open_invoice_is_pushed(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, status: str
) -> None:
    invoice = make_invoice()
    Invoice.objects.filter(pk=invoice.pk).update(status=status)
    invoice.refresh_from_db()

    with pytest.raises(InvoiceNotCollectable):
        push_invoice(invoice=invoice, now=NOW)

    assert not fake_stripe.requests


def test_without_a_key_nothing_happens_and_the_message_says_why(
    make_invoice: MakeInvoice, settings: Settings
) -> None:
    settings.STRIPE_API_KEY = ""

    with pytest.raises(StripeNotConfigured, match="STRIPE_API_KEY"):
        push_invoice(invoice=make_invoice(), now=NOW)

    assert not StripeInvoice.objects.exists()


def test_a_wrong_key_leaves_the_invoice_pending(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, settings: Settings
) -> None:
    invoice = make_invoice()
    link_customer(tenant=invoice.tenant)
    settings.STRIPE_API_KEY = "sk_test_wrong"

    with pytest.raises(StripeUnavailable, match="Invalid API Key"):
        push_invoice(invoice=invoice, now=NOW)

    assert StripeInvoice.objects.get().state == "pending"


def test_yen_have_no_minor_unit_and_kroner_of_iceland_have_one_at_stripe(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    for currency in ("JPY", "ISK"):
        tenant = Tenant.objects.create(slug=currency, name=currency, billing_email="a@b.example")
        assert push_invoice(invoice=make_invoice(owner=tenant, currency=currency), now=NOW).state == "pushed"

    yen, kroner = fake_stripe.account.invoices.values()
    assert (yen["total"], kroner["total"]) == (1234, 123_400)


def test_an_amount_too_fine_for_stripe_is_parked(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    row = push_invoice(invoice=make_invoice(currency="KWD"), now=NOW)

    assert row.state == "parked"
    assert "1234 minor units of KWD" in row.problem


def test_more_than_250_lines_are_pushed_as_sums(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    lines = [
        {"outcome": outcome, "model": f"model-{serial % 60}", "pool": pool, "list_minor": 7, "net_minor": 7}
        for serial in range(120)
        for outcome in ("miss", "exact")
        for pool in ("input", "output")
    ]
    invoice = make_invoice(*lines)

    row = push_invoice(invoice=invoice, now=NOW)

    pushed = fake_stripe.account.lines[row.stripe_id or ""]
    assert len(pushed) == 240
    assert sum(line["amount"] for line in pushed) == invoice.net_minor == 480 * 7
    assert (
        pushed[0]["description"]
        == "model-0, Input, miss: 2 lines together; list price 0.14 USD, saved 0.00 USD"
    )


def test_linking_is_idempotent_and_makes_one_customer(fake_stripe: FakeStripe, tenant: Tenant) -> None:
    first = link_customer(tenant=tenant)
    again = link_customer(tenant=tenant)

    customer = only(fake_stripe.account.customers)
    assert first.customer_id == again.customer_id == customer["id"]
    assert (customer["name"], customer["email"]) == ("Acme Ltd", "billing@acme.example")
    assert customer["metadata"] == {"zerorate_tenant": "acme"}


def test_an_existing_customer_is_linked_if_stripe_knows_it(fake_stripe: FakeStripe, tenant: Tenant) -> None:
    known = fake_stripe.account.create_customer({"name": "Acme"})["id"]
    gone = fake_stripe.account.create_customer({"name": "Gone", "deleted": True})["id"]

    for wrong in ("cus_unknown", gone):
        with pytest.raises(StripeRefused):
            link_customer(tenant=tenant, customer_id=wrong)
    assert link_customer(tenant=tenant, customer_id=known).customer_id == known


def test_a_customer_belongs_to_one_tenant(fake_stripe: FakeStripe, tenant: Tenant) -> None:
    customer_id = link_customer(tenant=tenant).customer_id
    stranger = Tenant.objects.create(slug="stranger", name="Stranger")

    with pytest.raises(StripeCustomerTaken):
        link_customer(tenant=stranger, customer_id=customer_id)

    assert StripeCustomer.objects.get().tenant == tenant


def test_stripe_is_never_asked_inside_a_transaction(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, live_db: str
) -> None:
    open_transactions: list[int] = []

    def look(_account: Account, _request: Request) -> None:
        query = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
            AND backend_type = 'client backend'"""  # and none of PostgreSQL's own, as autovacuum
        with psycopg.connect(live_db) as other:
            [row] = other.execute(query).fetchall()
        open_transactions.append(row[0])

    for route in (CUSTOMER, CREATE, LINES, FINALISE):
        fake_stripe.before[route].append(look)

    push_invoice(invoice=make_invoice(), now=NOW)

    assert open_transactions == [0, 0, 0, 0]
