"""What can go wrong with the catalog, and with counters.

CatalogError
└── CatalogRefused       400  catalog_refused
CounterError
└── EventsWait           409  events_wait
"""


class CatalogError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "catalog_error"
    status = 400


class CatalogRefused(CatalogError):
    """A catalog file contradicts itself or what is stored; nothing of it was applied."""

    code = "catalog_refused"


class CounterError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "counter_error"
    status = 500


class EventsWait(CounterError):
    """Events are in the outage spool, so PostgreSQL does not know yet what was spent."""

    code = "events_wait"
    status = 409
