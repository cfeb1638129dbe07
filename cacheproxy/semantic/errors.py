"""What can go wrong in the semantic tier. None of it reaches a customer: the call goes on as a miss.

SemanticError
├── EncoderMissing       500  encoder_missing
├── EncoderBusy          503  encoder_busy
├── EncoderFailed        502  encoder_failed
├── StoreAway            503  semantic_store_away
├── InvalidVerifier      500  invalid_verifier
└── StaleReading         500  stale_reading
"""


class SemanticError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "semantic_error"
    status = 500


class EncoderMissing(SemanticError):
    """The local encoder's packages are not installed; they are an extra."""

    code = "encoder_missing"


class EncoderBusy(SemanticError):
    """As many texts as are allowed wait for their vectors."""

    code = "encoder_busy"
    status = 503


class EncoderFailed(SemanticError):
    """A remote encoder gave no vectors, or others than it should."""

    code = "encoder_failed"
    status = 502


class StoreAway(SemanticError):
    """The vectors cannot be reached, or do not come in time."""

    code = "semantic_store_away"
    status = 503


class InvalidVerifier(SemanticError):
    """A file is no verifier of this release; the message names it."""

    code = "invalid_verifier"


class StaleReading(SemanticError):
    """A reading was packed by another release: its entry is as good as gone."""

    code = "stale_reading"
