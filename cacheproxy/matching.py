"""The semantic tier's entries whose question matches an expression, from the control plane.

Expressions are RE2's: no text makes one slow. Entries are read a page at a time, each in a statement of its own: a
long transaction would hold back the roll-up of usage.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from cacheproxy.cache.at_rest import AtRest, Damaged, Foreign
from cacheproxy.cache.sealing import Keyring
from cacheproxy.semantic.kept import Keeping
from cacheproxy.sensitive.expressions import compiled
from tenants.models import Tenant

PAGE_ENTRIES = 1000

_OF_TENANT = "tenant_id = %(tenant_id)s AND (%(model)s = '' OR model = %(model)s)"
_COUNT = f"SELECT count(*) FROM cacheproxy_semanticentry WHERE {_OF_TENANT}"  # noqa: S608
_PAGE = f"""
SELECT context, answer_key, question FROM cacheproxy_semanticentry
WHERE {_OF_TENANT} AND (context, answer_key) > (%(context)s, %(answer_key)s)
ORDER BY context, answer_key LIMIT %(limit)s
"""  # noqa: S608
_DELETE = """
DELETE FROM cacheproxy_semanticentry AS entry USING unnest(%s::bytea[], %s::bytea[]) AS ended (context, answer_key)
WHERE entry.context = ended.context AND entry.answer_key = ended.answer_key
"""


class EntryName(NamedTuple):
    """Which entry."""

    context: bytes
    answer_key: bytes


class Found(NamedTuple):
    """Entries that match, and how many could not be read, for want of the key that they are sealed with."""

    entries: list[EntryName]
    unreadable: int


def count_entries(*, tenant: Tenant, model: str) -> int:
    """Return how many questions the tier keeps of the tenant, or of one model's calls of it."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"tenant_id": tenant.pk, "model": model})
        return int(cursor.fetchone()[0])


def find_matching(
    *, tenant: Tenant, model: str, expression: str, on_page: Callable[[int], object] = lambda _entries: None
) -> Found:
    """Return the tenant's entries whose question the expression matches anywhere; `on_page` hears of each page's size.

    Questions that are remembered meanwhile may be missing.

    Raises:
        ExpressionError: it is no expression.
    """
    pattern, keeping = compiled(expression), _keeping()
    found, unreadable = [], 0
    for page in _pages(tenant, model):
        for context, answer_key, question in page:
            try:
                text = keeping.unwrap(context, answer_key, question).text
            except (Damaged, Foreign):
                unreadable += 1
                continue
            if pattern.search(text) is not None:
                found.append(EntryName(context, answer_key))
        on_page(len(page))
    return Found(found, unreadable)


def delete_entries(entries: Sequence[EntryName]) -> None:
    """Delete entries, so that their questions are at rest no more."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DELETE, [[entry.context for entry in entries], [entry.answer_key for entry in entries]]
        )


def _pages(tenant: Tenant, model: str) -> Iterator[list[tuple[bytes, bytes, bytes]]]:
    context, answer_key = b"", b""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                _PAGE,
                {
                    "tenant_id": tenant.pk,
                    "model": model,
                    "context": context,
                    "answer_key": answer_key,
                    "limit": PAGE_ENTRIES,
                },
            )
            page = [(bytes(row[0]), bytes(row[1]), bytes(row[2])) for row in cursor.fetchall()]
        if page:
            yield page
            context, answer_key, _ = page[-1]
        if len(page) < PAGE_ENTRIES:
            return


def _keeping() -> Keeping:
    keys = settings.CACHE_ENCRYPTION_KEYS
    return Keeping(AtRest(keyring=Keyring.parse(keys) if keys else None))
