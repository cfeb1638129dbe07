"""The webhook inbox: verified on the raw body, stored once, worked later in any order."""

import json
import random
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from billing.models import Invoice, Payment, StripeInvoice, StripeWebhook
from billing.services import webhooks
from billing.services.collection import push_invoice
from billing.services.payments import mark_uncollectible
from tests.billing.stripe.conftest import NOW, MakeInvoice
from tests.fakes.stripe.server import FakeStripe, lose_connection
from tests.fakes.stripe.webhooks import sign

FETCH = "GET /v1/invoices/{id}"
HOOK = "/webhooks/stripe"
EVENT = {"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}}

Post = Callable[..., Any]


@pytest.fixture
def row(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> StripeInvoice:
    """Give an invoice that is open on both sides."""
    return push_invoice(invoice=make_invoice(), now=NOW)


@pytest.fixture
def post(fake_stripe: FakeStripe, db: None) -> Post:
    """Give a way to post a body, well signed unless a signature is given."""

    def post(body: bytes, signature: str | None = None) -> Any:
        headers = {
            "Stripe-Signature": sign(body, fake_stripe.webhook_secret) if signature is None else signature
        }
        return Client(enforce_csrf_checks=True).post(
            HOOK, data=body, content_type="application/json", headers=headers
        )

    return post


def work_all() -> int:
    """Work the inbox at an instant when whatever was received by now is due."""
    return webhooks.work(now=NOW + timedelta(days=365))


def test_an_event_is_stored_at_once_and_worked_later(post: Post) -> None:
    answer = post(json.dumps(EVENT).encode())

    webhook = StripeWebhook.objects.get()
    assert (answer.status_code, answer.content) == (200, b"")
    assert (webhook.event_id, webhook.type, webhook.payload) == ("evt_1", "invoice.paid", EVENT)
    assert (webhook.worked_at, webhook.tries) == (None, 0)


def test_an_event_that_comes_again_is_taken_and_not_stored_again(post: Post) -> None:
    body = json.dumps(EVENT).encode()

    assert [post(body).status_code for _ in range(3)] == [200, 200, 200]
    assert StripeWebhook.objects.count() == 1


BODY = json.dumps(EVENT).encode()
BAD_SIGNATURES = {
    "missing": "",
    "wrong": "t=1,v1=00",
    "without a time": "v1=00",
    "nonsense": "nonsense",
    "no time": "t=now,v1=00",
    "no hexadecimal": "t=1,v1=\u00e9",
    "of another body": sign(b"{}", "whsec_fake"),
    "with another secret": sign(BODY, "whsec_other"),
    "too old": sign(BODY, "whsec_fake", at=int(time.time()) - 301),
    "of another scheme": sign(BODY, "whsec_fake").replace("v1=", "v0="),
}


@pytest.mark.parametrize("kind", BAD_SIGNATURES)
def test_a_bad_missing_or_old_signature_is_refused(post: Post, kind: str) -> None:
    answer = post(BODY, BAD_SIGNATURES[kind])

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == "webhook_signature_invalid"
    assert not StripeWebhook.objects.exists()


def test_the_signature_is_of_the_raw_body(post: Post) -> None:
    body = BODY

    answer = post(json.dumps(EVENT, indent=1).encode(), sign(body, "whsec_fake"))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"id": 1}', b'{"object": "event", "id": "evt_1"}', b"\xff"]
)
def test_a_signed_body_that_is_no_event_is_refused(post: Post, body: bytes) -> None:
    answer = post(body)

    assert answer.status_code == 400
    assert not StripeWebhook.objects.exists()


@pytest.mark.parametrize("size", [webhooks.BODY_BYTES_MAX + 1, 3 * webhooks.BODY_BYTES_MAX])
def test_a_body_over_the_limit_is_refused(post: Post, size: int) -> None:
    answer = post(b" " * size)

    assert (answer.status_code, answer.json()["code"]) == (413, "webhook_too_large")


def test_without_a_secret_nothing_is_taken(post: Post, settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRET = ""

    answer = post(BODY)

    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_not_configured")


def test_only_post_is_answered() -> None:
    assert Client().get(HOOK).status_code == 405


def test_an_unknown_event_is_kept_and_worked(post: Post, fake_stripe: FakeStripe) -> None:
    post(json.dumps(EVENT | {"type": "customer.subscription.paused"}).encode())

    assert work_all() == 1
    assert StripeWebhook.objects.get().worked_at is not None
    assert not fake_stripe.requests


def test_an_invoice_of_someone_else_is_let_be(post: Post, fake_stripe: FakeStripe) -> None:
    post(BODY)

    assert work_all() == 1
    assert not fake_stripe.requests


@pytest.mark.parametrize("seed", range(6))
def test_any_order_and_any_number_of_deliveries_end_alike(
    fake_stripe: FakeStripe, row: StripeInvoice, live_server: LiveServer, seed: int
) -> None:
    chance = random.Random(seed)
    account, stripe_id = fake_stripe.account, row.stripe_id or ""
    account.mark_uncollectible(stripe_id)
    if chance.random() < 0.5:
        webhooks_so_far = account.events[-1:]
        fake_stripe.deliver(live_server.url + HOOK, webhooks_so_far)
        work_all()
    account.collect(stripe_id)
    events = list(account.events) * 2
    chance.shuffle(events)

    for event in events:
        fake_stripe.deliver(live_server.url + HOOK, [event])
        if chance.random() < 0.5:
            work_all()
    work_all()

    row.invoice.refresh_from_db()
    assert row.invoice.status == "paid"
    assert [payment.amount_minor for payment in Payment.objects.all()] == [1234]
    assert StripeWebhook.objects.count() == len(account.events)
    assert not StripeWebhook.objects.filter(worked_at=None).exists()


def test_an_old_event_undoes_nothing(
    fake_stripe: FakeStripe, row: StripeInvoice, live_server: LiveServer
) -> None:
    account, stripe_id = fake_stripe.account, row.stripe_id or ""
    account.mark_uncollectible(stripe_id)
    given_up = account.events[-1]
    account.collect(stripe_id)
    fake_stripe.deliver(live_server.url + HOOK, [account.events[-1]])
    work_all()

    fake_stripe.deliver(live_server.url + HOOK, [given_up])
    work_all()

    row.invoice.refresh_from_db()
    assert (given_up["type"], row.invoice.status) == ("invoice.marked_uncollectible", "paid")


@pytest.mark.parametrize(("end", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible")])
def test_void_and_uncollectible_are_taken_over(
    fake_stripe: FakeStripe, row: StripeInvoice, live_server: LiveServer, end: str, status: str
) -> None:
    getattr(fake_stripe.account, end)(row.stripe_id)

    assert set(fake_stripe.deliver(live_server.url + HOOK, copies=2)) == {200}
    work_all()

    row.invoice.refresh_from_db()
    assert row.invoice.status == status


def test_a_failing_event_keeps_its_problem_and_is_tried_again(
    fake_stripe: FakeStripe, row: StripeInvoice, live_server: LiveServer
) -> None:
    fake_stripe.account.collect(row.stripe_id or "")
    fake_stripe.deliver(live_server.url + HOOK, fake_stripe.account.events[-2:-1])
    later = NOW + timedelta(days=365)
    fake_stripe.before[FETCH].extend([lose_connection] * 3)

    assert webhooks.work(now=later) == 0
    webhook = StripeWebhook.objects.get()
    assert "Stripe: Unexpected error communicating" in webhook.problem
    assert webhooks.work(now=later) == 0, "it waits"
    assert webhooks.work(now=later + timedelta(minutes=5)) == 1

    webhook.refresh_from_db()
    assert (webhook.problem, webhook.tries) == ("", 2)
    assert Invoice.objects.get().status == "paid"


def test_a_failing_event_is_given_up_after_eight_tries_until_someone_asks(
    fake_stripe: FakeStripe, row: StripeInvoice, live_server: LiveServer
) -> None:
    fake_stripe.account.collect(row.stripe_id or "")
    fake_stripe.deliver(live_server.url + HOOK, fake_stripe.account.events[-2:-1])
    del fake_stripe.account.invoices[row.stripe_id or ""]
    sweeps = [NOW + timedelta(days=365 + day) for day in range(10)]

    for now in sweeps:
        webhooks.work(now=now)

    webhook = StripeWebhook.objects.get()
    assert (webhook.tries, webhook.worked_at) == (8, None)
    assert "gone from Stripe" in webhook.problem
    webhooks.retry(webhook=webhook, now=sweeps[-1])
    assert StripeWebhook.objects.due(sweeps[-1]).get() == webhook


def test_a_bug_met_on_one_event_does_not_hold_up_the_next(post: Post) -> None:
    broken = StripeWebhook.objects.create(event_id="evt_0", type="invoice.paid", payload={})
    post(BODY)

    assert work_all() == 1

    broken.refresh_from_db()
    assert "ValidationError" in broken.problem


def test_what_another_worker_holds_is_skipped(transactional_db: None, post: Post) -> None:
    for serial in range(2):
        post(json.dumps(EVENT | {"id": f"evt_{serial}"}).encode())
    worked: list[int] = []

    def work_elsewhere() -> None:
        worked.append(work_all())
        connection.close()

    with transaction.atomic():
        StripeWebhook.objects.select_for_update().get(event_id="evt_0")
        other = Thread(target=work_elsewhere)
        other.start()
        other.join(30)

    assert worked == [1]
    assert StripeWebhook.objects.get(worked_at=None).event_id == "evt_0"


def test_two_workers_at_once_record_one_payment(
    fake_stripe: FakeStripe, row: StripeInvoice, live_server: LiveServer
) -> None:
    mark_uncollectible(invoice=row.invoice, now=NOW)
    fake_stripe.account.collect(row.stripe_id or "")
    fake_stripe.deliver(live_server.url + HOOK, fake_stripe.account.events)

    def work_and_close() -> None:
        work_all()
        connection.close()

    workers = [Thread(target=work_and_close) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)

    assert Payment.objects.count() == 1
    assert not StripeWebhook.objects.exclude(problem="").exists()
