"""The state of one Stripe account: customers, invoices and the events that their changes cause."""

import copy
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from tests.fakes.stripe.errors import RefusedError, missing

API_VERSION: Final = "2026-10-28.endive"
LINES_MAX: Final = 250
LINES_SHOWN: Final = 10
# Less is not collected but owed on: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MINIMUM_CHARGE: Final = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50}
DECLINED: Final = "pm_card_chargeDeclined"

Json = dict[str, Any]


class Account:
    """Customers and invoices by id, and every event so far, oldest first."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.customers: dict[str, Json] = {}
        self.invoices: dict[str, Json] = {}
        self.lines: dict[str, list[Json]] = {}
        self.events: list[Json] = []
        self._serials = count(1)

    def create_customer(self, params: Json) -> Json:
        customer: Json = {
            "id": self._identify("cus"),
            "object": "customer",
            "balance": 0,
            "created": self._now(),
            "currency": None,
            "description": None,
            "email": None,
            "livemode": False,
            "metadata": {},
            "name": None,
        } | params
        self.customers[customer["id"]] = customer
        self._record("customer.created", customer)
        return customer

    def retrieve_customer(self, identifier: str) -> Json:
        if identifier not in self.customers:
            raise missing("customer", identifier, param="id")
        return self.customers[identifier]

    def list_customers(self, params: Json) -> Json:
        found = [one for one in self.customers.values() if params.get("email") in {None, one["email"]}]
        return _page(found[::-1], "/v1/customers", params)

    def create_invoice(self, params: Json) -> Json:
        customer = self._customer_to_bill(params)
        self._refuse_taken_number(params.get("number"))
        identifier = self._identify("in")
        self.lines[identifier] = []
        self.invoices[identifier] = _draft(identifier, customer, params, self._now())
        self._record("invoice.created", self._refresh(identifier))
        return self.invoices[identifier]

    def retrieve_invoice(self, identifier: str) -> Json:
        if identifier not in self.invoices:
            raise missing("invoice", identifier, param="id")
        return self.invoices[identifier]

    def list_invoices(self, params: Json) -> Json:
        since = params.get("created", {}).get("gte", 0)
        wanted = {name: params[name] for name in ("customer", "status") if name in params}
        found = [
            one
            for one in self.invoices.values()
            if one["created"] >= since and wanted.items() <= {name: one[name] for name in wanted}.items()
        ]
        return _page(found[::-1], "/v1/invoices", params)

    def list_lines(self, identifier: str, params: Json) -> Json:
        self.retrieve_invoice(identifier)
        return _page(self.lines[identifier], f"/v1/invoices/{identifier}/lines", params)

    def add_lines(self, identifier: str, params: Json) -> Json:
        invoice = self._expect(
            identifier, {"draft"}, "This invoice is no longer editable", "invoice_not_editable"
        )
        if len(self.lines[identifier]) + len(params["lines"]) > LINES_MAX:
            raise RefusedError(f"An invoice takes at most {LINES_MAX} lines.", param="lines")
        self.lines[identifier] += [self._line(invoice, line) for line in params["lines"]]
        invoice["metadata"] |= params.get("invoice_metadata", {})
        self._record("invoice.updated", self._refresh(identifier))
        return invoice

    def finalize(self, identifier: str, params: Json) -> Json:
        problem = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        invoice = self._expect(identifier, {"draft"}, problem)
        if not self.lines[identifier]:
            raise RefusedError(
                "An invoice without lines can't be finalized.", code="invoice_no_customer_line_items"
            )
        now = self._now()
        invoice |= {"status": "open", "number": invoice["number"] or f"FAKE-{next(self._serials):04}"}
        invoice |= (
            {"due_date": now + invoice.pop("_days_until_due") * 86400} if "_days_until_due" in invoice else {}
        )
        invoice["auto_advance"] = params.get("auto_advance", invoice["auto_advance"])
        invoice["hosted_invoice_url"] = f"https://invoice.stripe.example/{identifier}"
        invoice["status_transitions"]["finalized_at"] = now
        self.customers[invoice["customer"]]["balance"] = min(
            0, invoice["total"] + invoice["starting_balance"]
        )
        self._record("invoice.finalized", invoice)
        self._owe_on_what_is_too_little(invoice)
        return invoice

    def pay(self, identifier: str, params: Json) -> Json:
        invoice = self._expect(
            identifier, {"open", "uncollectible"}, "Invoice is not open and cannot be paid."
        )
        if params.get("payment_method") == DECLINED:
            raise RefusedError("Your card was declined.", status=402, kind="card_error", code="card_declined")
        out_of_band = params.get("paid_out_of_band", False)
        if not out_of_band and "payment_method" not in params:
            raise RefusedError("There is no default payment method set on this customer.")
        return self._settle(invoice, out_of_band=out_of_band)

    def collect(self, identifier: str) -> Json:
        """Pay an invoice as its customer does, on Stripe's own page."""
        return self.pay(identifier, {"payment_method": "pm_card_visa"})

    def void(self, identifier: str) -> Json:
        invoice = self._expect(identifier, {"open", "uncollectible"}, "You can only pass in open invoices.")
        return self._move(invoice, "void", "voided_at", "invoice.voided")

    def mark_uncollectible(self, identifier: str) -> Json:
        invoice = self._expect(identifier, {"open"}, "You can only pass in open invoices.")
        return self._move(invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")

    def _now(self) -> int:
        return int(self._clock())

    def _identify(self, prefix: str) -> str:
        return f"{prefix}_fake{next(self._serials):08}"

    def _record(self, kind: str, thing: Json) -> None:
        event = {
            "id": self._identify("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self._now(),
            "data": {"object": published(thing)},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self.events.append(event)

    def _expect(self, identifier: str, statuses: set[str], problem: str, code: str | None = None) -> Json:
        invoice = self.retrieve_invoice(identifier)
        if invoice["status"] not in statuses:
            raise RefusedError(problem, code=code)
        return invoice

    def _customer_to_bill(self, params: Json) -> Json:
        if params.get("customer") not in self.customers:
            raise missing("customer", str(params.get("customer")), param="customer")
        customer = self.customers[params["customer"]]
        sent = params.get("collection_method") == "send_invoice"
        if sent != ("days_until_due" in params):
            raise RefusedError(
                "`days_until_due` goes with `collection_method` send_invoice.", param="days_until_due"
            )
        if sent and not customer["email"]:
            problem = "Missing email. To create invoices that are sent, the customer must have a valid email."
            raise RefusedError(problem, param="customer")
        return customer

    def _refuse_taken_number(self, number: str | None) -> None:
        if number is not None and any(one["number"] == number for one in self.invoices.values()):
            raise RefusedError(f"Invoice number {number} is already used.", param="number")

    def _line(self, invoice: Json, params: Json) -> Json:
        return {
            "id": self._identify("il"),
            "object": "line_item",
            "amount": 0,
            "currency": invoice["currency"],
            "description": None,
            "discountable": True,
            "invoice": invoice["id"],
            "livemode": False,
            "metadata": {},
            "period": {"start": invoice["created"], "end": invoice["created"]},
            "quantity": 1,
        } | params

    def _refresh(self, identifier: str) -> Json:
        invoice, lines = self.invoices[identifier], self.lines[identifier]
        total = sum(line["amount"] for line in lines)
        due = max(0, total + invoice["starting_balance"])
        invoice["lines"] = _page(lines, f"/v1/invoices/{identifier}/lines", {"limit": LINES_SHOWN})
        invoice |= {"subtotal": total, "total": total, "amount_due": due, "amount_remaining": due}
        return invoice

    def _owe_on_what_is_too_little(self, invoice: Json) -> None:
        if invoice["amount_due"] < MINIMUM_CHARGE.get(invoice["currency"], 1):
            self.customers[invoice["customer"]]["balance"] += invoice[
                "amount_due"
            ]  # a debt is a positive balance
            invoice |= {"amount_due": 0, "amount_remaining": 0}
            self._settle(invoice, out_of_band=False)

    def _settle(self, invoice: Json, *, out_of_band: bool) -> Json:
        amount = invoice["amount_due"]
        paid = {"amount_paid_off_stripe": amount} if out_of_band else {"amount_paid": amount}
        invoice |= paid | {"amount_remaining": 0, "attempted": True}
        self._move(invoice, "paid", "paid_at", "invoice.paid")
        if not out_of_band:
            self._record("invoice.payment_succeeded", invoice)
        return invoice

    def _move(self, invoice: Json, status: str, transition: str, event: str) -> Json:
        invoice["status"] = status
        invoice["status_transitions"][transition] = self._now()
        self._record(event, invoice)
        return invoice


def published(thing: Json) -> Json:
    """Return a copy of an object as the API shows it: without the fake's own notes."""
    return copy.deepcopy({name: value for name, value in thing.items() if not name.startswith("_")})


def _page(items: list[Json], url: str, params: Json) -> Json:
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise RefusedError("limit must be between 1 and 100", param="limit", executed=False)
    ids = [item["id"] for item in items]
    start = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
    page = items[start : start + limit]
    has_more = start + limit < len(items)
    return {"object": "list", "url": url, "has_more": has_more, "data": [published(item) for item in page]}


def _draft(identifier: str, customer: Json, params: Json, now: int) -> Json:
    notes = {"_days_until_due": params["days_until_due"]} if "days_until_due" in params else {}
    return notes | {
        "id": identifier,
        "object": "invoice",
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": params.get("auto_advance", False),
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "collection_method": params.get("collection_method", "charge_automatically"),
        "created": now,
        "currency": params.get("currency", "usd").lower(),
        "customer": customer["id"],
        "customer_email": customer["email"],
        "default_tax_rates": [],
        "description": params.get("description"),
        "discounts": [],
        "due_date": None,
        "footer": params.get("footer"),
        "hosted_invoice_url": None,
        "issuer": {"type": "self"},
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "number": params.get("number"),
        "payment_settings": {"payment_method_options": None, "payment_method_types": None},
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": customer["balance"],
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
    }
