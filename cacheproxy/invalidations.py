"""Ending answers of the cache before their time, from wherever it is asked for; each time on record.

An invalidation reaches every gateway within a second, and takes as long for one answer as for all of them. It
ends what was asked of an upstream before it, even where that answer is still on its way.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from cacheproxy.errors import EmptySelection, TooManyInvalidations, UnfitSelection, UnknownModel
from cacheproxy.matching import EntryName, count_entries, delete_entries, find_matching
from cacheproxy.models import CacheInvalidation, CachePool, ServedModel
from cacheproxy.policy import MAX_TAG_BYTES
from cacheproxy.sensitive.expressions import ExpressionError, compiled
from tenants.models import Tenant

MAX_SESSION_BYTES = 256
MAX_PER_MINUTE = 120
"""Of one tenant's own; gateways keep them in memory."""
MAX_MATCHING_PER_MINUTE = 6
"""Of those; each reads all questions that are kept of the tenant."""
MAX_ENTRIES_AT_ONCE = 50_000
"""Questions that are looked through while somebody waits for a page: some seconds."""
MAX_KEYS = 10_000
"""Of one record."""
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
    pool: CachePool | None = None
    matching: str = ""
    """An expression that finds the question's text (semantic tier)."""


class Matched(NamedTuple):
    """What an expression found: answers that ended, or would have, entries that could not be read, and the records."""

    answers: int
    unreadable: int
    records: list[CacheInvalidation]


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
        _check_rate(selection.tenant, now, matching=bool(selection.matching))
    if selection.matching:
        _check_size(selection)
        return invalidate_matching(selection=selection, author=author, now=now, reason=reason).records[-1]
    return _record(selection, author, now, reason)


def invalidate_matching(
    *,
    selection: Selection,
    author: Author,
    now: datetime,
    reason: str = "",
    dry_run: bool = False,
    on_page: Callable[[int], object] = lambda _entries: None,
) -> Matched:
    """End the answers of a tenant's questions that match, and forget the questions; or, with *dry_run*, count them.

    A record for each `MAX_KEYS` of them, and one where there are none. Each is a transaction of its own; broken off, it
    may be repeated.

    Raises:
        UnfitSelection, UnknownModel: see `invalidate`.
    """
    check(selection, everything=False)
    tenant, model, expression = selection.tenant, selection.model, selection.matching
    assert tenant is not None, "it was checked"
    found = find_matching(tenant=tenant, model=model, expression=expression, on_page=on_page)
    if dry_run:
        return Matched(len(found.entries), found.unreadable, [])
    starts = range(0, len(found.entries), MAX_KEYS) or [0]
    records = [
        _record(selection, author, now, reason, found.entries[start : start + MAX_KEYS]) for start in starts
    ]
    return Matched(len(found.entries), found.unreadable, records)


@transaction.atomic
def _record(
    selection: Selection, author: Author, now: datetime, reason: str, entries: Sequence[EntryName] = ()
) -> CacheInvalidation:
    delete_entries(entries)  # before the record, whose number is taken under a lock
    return CacheInvalidation.objects.create(
        **selection._asdict(),
        keys=sorted({entry.answer_key.decode() for entry in entries}),
        reason=reason,
        made_by=author.name,
        via=author.via,
        made_at=now,
    )


def check(selection: Selection, *, everything: bool) -> None:
    """Refuse a selection that `invalidate` would refuse.

    Raises:
        EmptySelection, UnfitSelection, UnknownModel: as `invalidate`.
    """
    tenant, model, version, session, tag, key, pool, matching = selection
    stated = any(selection)
    if not stated and not everything:
        raise EmptySelection(
            "Name what to invalidate: a tenant, pool, model, version, session, tag, key or expression; "
            "or ask for everything."
        )
    if stated and everything:
        raise UnfitSelection(
            "Everything goes without a selection: state one or the other.", field="everything"
        )
    if version and not model:
        raise UnfitSelection("A version is a model's: name the model as well.", field="version")
    if pool and tenant:
        raise UnfitSelection(
            "A pool's answers are its members' together: name one or the other.", field="pool"
        )
    if session and tenant is None:
        raise UnfitSelection("A session is a tenant's: name the tenant as well.", field="session")
    if session and tag:
        raise UnfitSelection("Name a session or a tag, not both.", field="session")
    if key and (model or version or session or tag):
        raise UnfitSelection(
            "A key names one answer: leave model, version, session and tag out.", field="key"
        )
    if matching:
        _check_matching(selection)
    _check_words(session, tag, key)
    if model and not ServedModel.objects.filter(name=model).exists():
        raise UnknownModel(f"There is no model “{model}”.")


def _check_matching(selection: Selection) -> None:
    if selection.tenant is None:
        raise UnfitSelection("Questions are a tenant's: name the tenant as well.", field="matching")
    if selection.version or selection.session or selection.tag or selection.key:
        raise UnfitSelection(
            "An expression goes with a tenant and a model only: leave version, session, tag and key out.",
            field="matching",
        )
    try:
        compiled(selection.matching)
    except ExpressionError as problem:
        words = str(problem)
        raise UnfitSelection(f"{words[0].upper()}{words[1:]}.", field="matching") from problem


def _check_size(selection: Selection) -> None:
    assert selection.tenant is not None, "it was checked"
    entries = count_entries(tenant=selection.tenant, model=selection.model)
    if entries > MAX_ENTRIES_AT_ONCE:
        raise UnfitSelection(
            f"That would look through {entries:,} questions, more than {MAX_ENTRIES_AT_ONCE:,} at once: name the "
            "model as well, or let an operator run `manage.py invalidate_cache --matching`.",
            field="matching",
        )


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


def _check_rate(tenant: Tenant, now: datetime, *, matching: bool) -> None:
    made = CacheInvalidation.objects.filter(tenant=tenant, made_at__gt=now - timedelta(minutes=1))
    if matching and made.exclude(matching="").count() >= MAX_MATCHING_PER_MINUTE:
        raise TooManyInvalidations(
            f"At most {MAX_MATCHING_PER_MINUTE} invalidations by expression a minute: join them with “|”."
        )
    if made.count() >= MAX_PER_MINUTE:
        raise TooManyInvalidations(
            f"At most {MAX_PER_MINUTE} invalidations a minute: invalidate a tag or the model instead of many keys."
        )
