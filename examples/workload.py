"""An expense department's day, as calls: the same documents, uploaded again and again by different systems.

No system passes on what it read, so each step uploads the image anew, as its own HTTP library writes JSON:
other field order, other blanks, other escapes, another time, request id and client. Only the image decides.

How often, in words: Acme handles every document (14 receipts and 5 forms) and uploads each six times: at
capture, validation, the line manager's approval, the budget owner's approval, in bookkeeping and in the
audit. Globex audits six of the same receipts and uploads each five times: intake, sampling, two reviewers,
archive.

So one in six of Acme's calls is computed; its repeats are free, and it pays for 1/6 of its tokens. Globex
pays half for repeats: (1 + 4 × 1/2) / 5 = 3/5 of its tokens. Acme sends some four fifths of all tokens, so
together they pay for about a quarter. Globex's six documents are computed for Globex although Acme had them
read as well: nothing is shared between tenants.
"""

import base64
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from examples import documents
from examples.documents import Document

GLOBEX_DOCUMENTS = 6
STEPS = {
    "acme": ("capture", "validation", "line-manager", "budget-owner", "bookkeeping", "audit"),
    "globex": ("intake", "sampling", "first-review", "second-review", "archive"),
}
WRITERS: tuple[dict[str, Any], ...] = (
    {"separators": (",", ":")},
    {"separators": (", ", ": ")},
    {"indent": 2},
    {"indent": "\t", "separators": (" ,", " : ")},
)


class Upload(NamedTuple):
    """One call: who uploads what in which step, and the body as that step's client writes it."""

    tenant: str
    step: str
    document: Document
    body: bytes


def uploads(*, seed: int, now: datetime) -> list[Upload]:
    """Return the calls of both tenants in the order they are made: a minute apart, the last at `now`.

    A document passes its steps in order; which document comes next is drawn.
    """
    dice = random.Random(seed)
    paper = documents.receipts(seed=seed) + documents.forms(seed=seed)
    visits = list(itertools.chain(_visits("acme", paper), _visits("globex", paper[:GLOBEX_DOCUMENTS])))
    dice.shuffle(visits)
    steps: dict[tuple[str, str], Iterator[str]] = {(t, d.name): iter(STEPS[t]) for t, d in visits}
    calls = []
    for minutes_left, (tenant, document) in zip(reversed(range(len(visits))), visits, strict=True):
        step = next(steps[tenant, document.name])
        body = _body(document, step, at=now - timedelta(minutes=minutes_left), dice=dice)
        calls.append(Upload(tenant, step, document, body))
    return calls


def _visits(tenant: str, paper: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Yield each document once for every step of the tenant."""
    for document in paper:
        for _ in STEPS[tenant]:
            yield tenant, document


def _body(document: Document, step: str, *, at: datetime, dice: random.Random) -> bytes:
    fields = {
        "image": base64.b64encode(document.png).decode(),
        "language": "en",
        "timestamp": at.isoformat(),
        "request_id": f"{step}-{dice.getrandbits(48):012x}",
        "client": {"app": f"{step}-service", "build": dice.randint(100, 999)},
    }
    order = dice.sample(list(fields), len(fields))
    text = json.dumps({name: fields[name] for name in order}, **dice.choice(WRITERS))
    escapes_slashes = dice.random() < 0.25  # as PHP's json_encode does
    return (text.replace("/", "\\/") if escapes_slashes else text).encode()
