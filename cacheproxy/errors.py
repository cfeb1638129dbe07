"""What can go wrong with the catalog.

CatalogError
└── CatalogRefused       400  catalog_refused
"""


class CatalogError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "catalog_error"
    status = 400


class CatalogRefused(CatalogError):
    """A catalog file contradicts itself or what is stored; nothing of it was applied."""

    code = "catalog_refused"
