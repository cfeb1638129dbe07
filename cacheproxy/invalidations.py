"""Ending answers of the cache before their time, from wherever it is asked for; each time on record.

An invalidation reaches every gateway within a second, and takes as long for one answer as for all of them. It
ends what was asked of an upstream before it, even where that answer is still on its way.
"""

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from cacheproxy.errors import EmptySelection, TooManyInvalidations, UnfitSelection, UnknownModel
from cacheproxy.models import CacheInvalidation, ServedModel
from cacheproxy.policy import MAX_TAG_BYTES
from tenants.models import Tenant

MAX_SESSION_BYTES = 256
MAX_PER_MINUTE = 120
"""Of one tenant's own; gateways keep them in memory."""
_is_tag = re.compile(rf"[!-+\--~]{{1,{MAX_TAG_BYTES}}}").fullmatch
_is_key = re.compile(r"k\d+:[0-9a-f]{64}").fullmatch


class Selection(NamedTuple):
    """Answers that match all that is stated."""

    tenant: Tenant | None = None
    model: str = ""
    version: str = ""
    session: str = ""
    tag: str = ""
    key: str = ""


class Author(NamedTuple):
    """Who invalidates, and from where."""

    name: str
    via: CacheInvalidation.Via


def invalidate(
    *, selection: Selection, author: Author, now: datetime, reason: str = "", everything: bool = False
) -> CacheInvalidation:
    """End the answers of *selection*, and return the record of it. Gateways hear of it when the transaction commits.

    Raises:
        EmptySelection: it states nothing, and *everything* was not asked for.
        UnfitSelection: what it states does not go together, or is nothing that an answer could have.
        UnknownModel: there is no such model.
        TooManyInvalidations: the tenant itself made too many within the last minute.
    """
    check(selection, everything=everything)
    if author.via == CacheInvalidation.Via.API and selection.tenant is not None:
        _check_rate(selection.tenant, now)
    with transaction.atomic():
        return CacheInvalidation.objects.create(
            **selection._asdict(), reason=reason, made_by=author.name, via=author.via, made_at=now
        )


def check(selection: Selection, *, everything: bool) -> None:
    """Refuse a selection that `invalidate` would refuse.

    Raises:
        EmptySelection, UnfitSelection, UnknownModel: as `invalidate`.
    """
    tenant, model, version, session, tag, key = selection
    stated = any(selection)
    if not stated and not everything:
        raise EmptySelection(
            "Name what to invalidate: a tenant, model, version, session, tag or key; or ask for everything."
        )
    if stated and everything:
        raise UnfitSelection(
            "Everything goes without a selection: state one or the other.", field="everything"
        )
    if version and not model:
        raise UnfitSelection("A version is a model's: name the model as well.", field="version")
    if session and tenant is None:
        raise UnfitSelection("A session is a tenant's: name the tenant as well.", field="session")
    if session and tag:
        raise UnfitSelection("Name a session or a tag, not both.", field="session")
    if key and (model or version or session or tag):
        raise UnfitSelection(
            "A key names one answer: leave model, version, session and tag out.", field="key"
        )
    _check_words(session, tag, key)
    if model and not ServedModel.objects.filter(name=model).exists():
        raise UnknownModel(f"There is no model “{model}”.")


def _check_words(session: str, tag: str, key: str) -> None:
    if len(session.encode()) > MAX_SESSION_BYTES:
        raise UnfitSelection(f"A session has at most {MAX_SESSION_BYTES} bytes.", field="session")
    if tag and not _is_tag(tag):
        raise UnfitSelection(
            f"A tag has up to {MAX_TAG_BYTES} visible ASCII characters, and no space or comma.", field="tag"
        )
    if key and not _is_key(key):
        raise UnfitSelection(
            "A key is what x-zerorate-key shows: “k1:” and 64 hexadecimal digits.", field="key"
        )


def _check_rate(tenant: Tenant, now: datetime) -> None:
    made = CacheInvalidation.objects.filter(tenant=tenant, made_at__gt=now - timedelta(minutes=1))
    if made.count() >= MAX_PER_MINUTE:
        raise TooManyInvalidations(
            f"At most {MAX_PER_MINUTE} invalidations a minute: invalidate a tag or the model instead of many keys."
        )
