"""What can go wrong with the catalog, with counters, and with the cache.

CatalogError
└── CatalogRefused       400  catalog_refused
CounterError
└── EventsWait           409  events_wait
CacheError
├── EmptySelection       400  empty_selection
├── UnfitSelection       400  unfit_selection
├── UnknownModel         404  unknown_model
├── TooManyInvalidations 429  too_many_invalidations
├── UnfitRequests        400  unfit_requests
├── ContentNotKept       409  content_not_kept
├── UnknownPool          404  unknown_pool
└── NotAMember           409  not_a_member
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


class CacheError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "cache_error"
    status = 400


class EmptySelection(CacheError):
    """Nothing was named, which would be everything: that has to be asked for."""

    code = "empty_selection"


class UnfitSelection(CacheError):
    """What was named does not go together, or is nothing that an answer could have. `field` is what to change."""

    code = "unfit_selection"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownModel(CacheError):
    """No model has that name."""

    code = "unknown_model"
    status = 404


class TooManyInvalidations(CacheError):
    """A tenant invalidates more often than its gateways should have to heed."""

    code = "too_many_invalidations"
    status = 429


class UnfitRequests(CacheError):
    """What a warm-up is to send holds something that is no request."""

    code = "unfit_requests"


class ContentNotKept(CacheError):
    """The tenant does not let its requests be kept, so there are none to send again."""

    code = "content_not_kept"
    status = 409


class UnknownPool(CacheError):
    """No pool has that name."""

    code = "unknown_pool"
    status = 404


class NotAMember(CacheError):
    """A tenant cannot leave a pool that it is not in."""

    code = "not_a_member"
    status = 409
