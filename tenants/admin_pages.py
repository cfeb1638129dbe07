"""What the operator's pages of every app are built from.

A change to one row is a `Lever`: a small form that explains itself, asks what it must, and calls one service.
`OperatorAdmin` shows a row's levers as buttons, checks permissions, takes changes by POST only, and shows a
refusal, by a service or by the database, as an error on the page.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast

import psycopg
from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, models, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display as unfold_display
from unfold.enums import ActionVariant

if TYPE_CHECKING:  # Django's classes take type arguments here only; unfold adds looks to them
    from django.contrib import admin

    ModelForm = forms.ModelForm[Any]
    TabularInline = admin.TabularInline[Any, Any]
    UnfoldAdmin = admin.ModelAdmin[Any]
else:
    from django.forms import ModelForm
    from unfold.admin import ModelAdmin as UnfoldAdmin
    from unfold.admin import TabularInline

Shown = TypeVar("Shown", bound=Callable[..., object])


def badge(description: str, colours: Mapping[Any, str]) -> Callable[[Shown], Shown]:
    """Show what the function returns as a coloured label; *colours* are unfold's words for each value."""
    return cast("Callable[[Shown], Shown]", unfold_display(description=description, label=colours))


class ShowOnce(NamedTuple):
    """A page that a lever answers with, kept by no cache and found at no address of its own."""

    template: str
    context: dict[str, Any]


class Lever(forms.Form):
    """A change that an operator makes to one row: asked for on a page of its own, made by one service."""

    name: ClassVar[str]
    title: ClassVar[str]
    icon: ClassVar[str]
    permission: ClassVar[str]
    explanation: ClassVar[str]
    variant: ClassVar[ActionVariant] = ActionVariant.DEFAULT
    is_rare: ClassVar[bool] = False
    refusals: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self, *args: Any, row: Any, operator: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row = row
        self.operator = operator
        """Who pulls it, for the record."""

    @classmethod
    def applies(cls, row: Any) -> bool:
        """Return whether the row is in a state that this changes."""
        del row
        return True

    @abstractmethod
    def pull(self, *, now: datetime) -> str | ShowOnce:
        """Make the change; return what to tell the operator, or a page that tells it.

        Raises one of `refusals` where the service refuses.
        """


class OperatorAdmin(UnfoldAdmin):
    """A table of the operator's: rows with levers, and refusals shown where they arose."""

    levers: Sequence[type[Lever]] = ()
    change_form_template = "admin/operator_change_form.html"
    list_fullwidth = True

    def get_urls(self) -> list[URLPattern]:
        pull = self.admin_site.admin_view(self.lever_view)
        route = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path(f"<int:row_id>/{lever.name}/", pull, {"lever": lever}, name=f"{route}_{lever.name}")
            for lever in self.levers
        ] + super().get_urls()

    def lever_view(self, request: HttpRequest, row_id: int, lever: type[Lever]) -> HttpResponse:
        """Ask for what the lever wants, and pull it on POST."""
        row = self.get_object(request, str(row_id))
        if row is None:
            raise Http404
        if not (request.user.has_perm(lever.permission) and self.has_view_permission(request, row)):
            raise PermissionDenied
        if not lever.applies(row):
            messages.warning(request, f"“{lever.title}” does not apply to {row} as it stands.")
            return self._to_row(row)
        posted = request.POST if request.method == "POST" else None
        form = lever(posted, row=row, operator=request.user.get_username())
        if form.is_valid() and (told := self._pull(request, form)):
            return told
        return self.page(request, "admin/lever.html", lever.title, row=row, form=form)

    def page(
        self, request: HttpRequest, template: str, title: str, *, row: Any = None, **context: Any
    ) -> TemplateResponse:
        """Return a page of this admin about *row*, or about the table, in the admin's own frame."""
        request.current_app = self.admin_site.name
        media = self.media + context["form"].media if "form" in context else self.media
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "original": row, "title": title}
        return TemplateResponse(request, template, {**frame, "media": media, **context})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        context["buttons"] = [*self.row_links(request, row), *self._buttons(request, row)] if row else []
        return super().render_change_form(request, context, *args, **kwargs)

    def row_links(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the pages that a row leads to, as buttons before its levers."""
        del request, row
        return []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show what the database refuses as an error on the form, never as a crash."""
        try:
            with transaction.atomic():
                return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError as refusal:
            request.refusal = refusal_message(refusal)  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        refusal = getattr(request, "refusal", None)
        return refused(form, refusal) if refusal else form

    def _pull(self, request: HttpRequest, form: Lever) -> HttpResponse | None:
        try:
            told = form.pull(now=timezone.now())
        except form.refusals as refusal:
            form.add_error(None, str(refusal))
            return None
        except IntegrityError as refusal:
            form.add_error(None, refusal_message(refusal))
            return None
        self.log_change(request, form.row, f"{form.title}.")
        if isinstance(told, ShowOnce):
            page = self.page(request, told.template, form.title, row=form.row, **told.context)
            page["Cache-Control"] = "no-store"
            return page
        messages.success(request, told)
        return self._to_row(form.row)

    def _to_row(self, row: Any) -> HttpResponseRedirect:
        pages = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        if row.pk and self.model._default_manager.filter(pk=row.pk).exists():
            return redirect(f"{pages}_change", row.pk)
        return redirect(f"{pages}_changelist")

    def _buttons(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the row's levers that the user may pull, those seldom pulled in a menu."""
        offered = [
            lever for lever in self.levers if request.user.has_perm(lever.permission) and lever.applies(row)
        ]
        often = [self._button(lever, row) for lever in offered if not lever.is_rare]
        rare = [self._button(lever, row) for lever in offered if lever.is_rare]
        menu = {"title": "More", "icon": "more_horiz", "variant": ActionVariant.DEFAULT, "items": rare}
        return [*often, menu] if rare else often

    def _button(self, lever: type[Lever], row: Any) -> dict[str, Any]:
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_{lever.name}"
        return button(lever.title, reverse(route, args=[row.pk]), lever.icon, lever.variant)


class FactsAdmin(OperatorAdmin):
    """A table that is looked at and changed, if at all, through levers."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FactsInline(TabularInline):
    """Rows shown with their parent and changed elsewhere."""

    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def button(
    title: str, link: str, icon: str, variant: ActionVariant = ActionVariant.DEFAULT
) -> dict[str, Any]:
    """Return a button for the head of a page, as unfold's template reads it."""
    return {"title": title, "path": link, "icon": icon, "variant": variant}


def link_to(row: models.Model, text: str) -> str:
    """Return a link to the page of a row."""
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', page, text)


def require(request: HttpRequest, permissions: Collection[str]) -> None:
    """Let only those who have every one of the permissions go on.

    Raises:
        PermissionDenied: one is missing.
    """
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def refusal_message(refusal: IntegrityError) -> str:
    """Return what the database said, and its hint, without the statement around it."""
    assert isinstance(refusal.__cause__, psycopg.Error), "Django raises it from what the driver said"
    said = refusal.__cause__.diag
    parts = [said.message_primary or "The database refused it", said.message_hint]
    return " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in parts if part)


def refused(form: type[ModelForm], refusal: str) -> type[ModelForm]:
    """Return the form made to fail with the refusal that saving it met."""

    class Refused(form):  # type: ignore[misc, valid-type]
        def clean(self) -> None:
            super().clean()
            raise ValidationError(refusal)

    return Refused
