"""The lever that holds a key to limits, and the field that every such lever asks with."""

from datetime import datetime
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from tenants.admin_pages import Lever
from tenants.errors import TenantError
from tenants.models import ApiKey
from tenants.services import KeyLimits, limit_key


def limit_field() -> forms.IntegerField:
    """Return the field that asks for a limit."""
    return forms.IntegerField(
        required=False, min_value=1, max_value=2**31 - 1, widget=UnfoldAdminIntegerFieldWidget
    )


class LimitKey(Lever):
    """Hold a key to limits of its own."""

    name, title, icon = "limits", "Limits", "speed"
    permission, refusals = "tenants.change_apikey", (TenantError,)
    explanation = "They hold beside those of the plan, within a second. Empty: no limit of its own."

    requests_per_minute = limit_field()
    tokens_per_minute = limit_field()
    concurrent_requests = limit_field()
    max_output_tokens = limit_field()
    allowed_models = forms.CharField(
        required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="One to a line."
    )
    allowed_networks = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="One to a line, as 203.0.113.0/24 or 2001:db8::/32.",
    )
    enable_cache = forms.BooleanField(label="Cache", required=False, widget=UnfoldBooleanSwitchWidget)

    def __init__(self, *args: Any, row: ApiKey, **kwargs: Any) -> None:
        super().__init__(*args, row=row, **kwargs)
        for name, value in KeyLimits.of(row)._asdict().items():
            self.fields[name].initial = "\n".join(value) if isinstance(value, list) else value

    def pull(self, *, now: datetime) -> str:
        del now
        asked = self.cleaned_data
        lists = {name: asked[name].split() for name in ("allowed_models", "allowed_networks")}
        limit_key(api_key=self.row, limits=KeyLimits(**asked | lists))
        return f"The limits of {self.row} are set."
