"""The look of the admin: its sidebar, grouped by the four words, and its own stylesheet."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _may(*permissions: str) -> Callable[[HttpRequest], bool]:
    """Return whether a request's user has all of the permissions, asked when the sidebar is drawn."""
    return lambda request: request.user.has_perms(permissions)


def _table(title: str, model: str, icon: str) -> dict[str, Any]:
    """Return the sidebar's link to a model's list, for those who may see it."""
    app, name = model.split(".")
    link = reverse_lazy(f"admin:{app}_{name}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _may(f"{app}.view_{name}")}


def _is_hourly_usage(request: HttpRequest) -> bool:
    """Return whether a page is about hourly usage; the look-up's address begins alike."""
    return request.path.startswith(str(HOURLY_USAGE["link"])) and request.path != str(USAGE_LOOK_UP["link"])


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


USAGE_LOOK_UP = {
    "title": "Look up a call",
    "icon": "manage_search",
    "link": reverse_lazy("admin:metering_usagerollup_look_up"),
    "permission": _may("metering.view_usageevent"),
}

HOURLY_USAGE = _table("Hourly usage", "metering.usagerollup", "monitoring") | {"active": _is_hourly_usage}

SIDEBAR: list[dict[str, Any]] = [
    {"items": [{"title": "Overview", "icon": "space_dashboard", "link": reverse_lazy("admin:index")}]},
    _group(
        "Tenants",
        _table("Tenants", "tenants.tenant", "apartment"),
        _table("API keys", "tenants.apikey", "key"),
        _table("People", "tenants.user", "person"),
        _table("Groups", "auth.group", "group"),
    ),
    _group(
        "Usage",
        HOURLY_USAGE,
        USAGE_LOOK_UP,
        _table("Wrong hits", "metering.wronghit", "wrong_location"),
        _table("Conflicts", "metering.usageconflict", "report"),
    ),
    _group(
        "Billing",
        _table("Invoices", "billing.invoice", "receipt_long"),
        _table("Credit notes", "billing.creditnote", "undo"),
        _table("Payments", "billing.payment", "payments"),
        _table("Subscriptions", "billing.subscription", "event_repeat"),
        _table("Plans and prices", "billing.plan", "sell"),
        _table("Budgets", "billing.budget", "savings"),
        _table("Budget alerts", "billing.budgetalert", "notifications"),
        _table("Stripe invoices", "billing.stripeinvoice", "cloud_upload"),
        _table("Stripe webhooks", "billing.stripewebhook", "webhook"),
    ),
    _group(
        "Models & upstreams",
        _table("Models", "cacheproxy.servedmodel", "neurology"),
        _table("Upstreams", "cacheproxy.upstream", "dns"),
        _table("Pools", "cacheproxy.cachepool", "hub"),
        _table("Cache statistics", "cacheproxy.cachestatistic", "cached"),
        _table("Invalidations", "cacheproxy.cacheinvalidation", "mop"),
    ),
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Zerorate",
    "SITE_HEADER": "Zerorate",
    "SITE_SUBHEADER": "Metering and billing",
    "SITE_SYMBOL": "speed",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("zerorate/favicon.svg")}
    ],
    "STYLES": [lambda _request: static("zerorate/admin.css")],
    "DASHBOARD_CALLBACK": "billing.admin.dashboard.dashboard",
    "SIDEBAR": {"show_search": False, "navigation": SIDEBAR},
    "COLORS": {
        "primary": {
            "50": "oklch(97.7% .013 236.62)",
            "100": "oklch(95.1% .026 236.824)",
            "200": "oklch(90.1% .058 230.902)",
            "300": "oklch(82.8% .111 230.318)",
            "400": "oklch(74.6% .16 232.661)",
            "500": "oklch(68.5% .169 237.323)",
            "600": "oklch(58.8% .158 241.966)",
            "700": "oklch(50% .134 242.749)",
            "800": "oklch(44.3% .11 240.79)",
            "900": "oklch(39.1% .09 240.876)",
            "950": "oklch(29.3% .066 243.157)",
        },
    },
}
