"""The look of the admin."""

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Zerorate",
    "SITE_HEADER": "Zerorate",
    "SITE_SUBHEADER": "Metering and billing",
}
