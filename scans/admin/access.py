"""API keys, the audit trail and waivers. A key is made here, shown once and revoked; the trail can only be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from rest_framework_api_key.models import APIKey

from scans.admin.base import ModelAdmin, PurgeableAdmin, ReadOnlyAdmin
from scans.models import AuditEvent, ClientKey, Scope, Waiver
from scans.services import keys
from scans.services.access import origin

if TYPE_CHECKING:
    ClientKeyModelForm = forms.ModelForm[ClientKey]
else:
    ClientKeyModelForm = forms.ModelForm

admin.site.unregister(APIKey)  # the package's own model, which nothing here uses


class ClientKeyForm(ClientKeyModelForm):
    """A new key for anybody."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=list(keys.DEFAULT_SCOPES),
        widget=forms.CheckboxSelectMultiple,
        help_text="read: jobs and results. scan: submit, cancel, repeat, delete. admin: everybody's jobs, for staff only.",
    )
    expiry_date = forms.DateTimeField(  # the stock widget is two fields, of which neither has a label
        required=False, label="Valid until", widget=forms.DateTimeInput(attrs={"type": "datetime-local"}), help_text="UTC"
    )

    class Meta:
        model = ClientKey
        fields = ("owner", "name", "scopes", "expiry_date")

    def clean(self) -> dict[str, Any]:
        """Refuse what the service would refuse."""
        data = super().clean() or {}
        if not self.errors:
            try:
                keys.refuse_bad(data["owner"], name=data["name"], scopes=data["scopes"], expires_at=data.get("expiry_date"))
            except keys.KeyRefusedError as error:
                raise forms.ValidationError(str(error)) from error
        return data


@admin.register(ClientKey)
class ClientKeyAdmin(PurgeableAdmin):
    """Everybody's keys. To delete one is to revoke it and to forget its name."""

    form = ClientKeyForm
    list_display = ("prefix", "name", "owner", "scopes", "created", "expiry_date", "last_used_at", "revoked")
    list_display_links = None  # a row's address would hold the hash of its key, and the list shows everything
    list_filter = ("revoked",)
    list_select_related = ("owner",)
    search_fields = ("=prefix", "^name", "=owner__username")
    search_help_text = "A whole prefix or user name, or how a name begins"
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As Django decides: whoever makes a key for somebody can act as them."""
        return ModelAdmin.has_add_permission(self, request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whoever could change a key, if keys could be changed."""
        return ModelAdmin.has_change_permission(self, request)

    def save_model(self, request: HttpRequest, obj: ClientKey, form: ClientKeyForm, change: bool) -> None:
        """Make the key. Its text stays on the request for the answer: a message would be stored until it is shown."""
        data = form.cleaned_data
        made, text = keys.create_key(
            data["owner"],
            name=data["name"],
            scopes=data["scopes"],
            expires_at=data["expiry_date"],
            origin=origin(request),
        )
        obj.pk, obj.prefix = made.pk, made.prefix
        request.new_key = text  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ClientKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key, this once."""
        context = {**self.admin_site.each_context(request), "title": "The new API key", "key": obj, "opts": self.opts}
        context["new_key"] = request.new_key  # type: ignore[attr-defined]
        headers = {"Cache-Control": "private, no-store"}
        return TemplateResponse(request, "admin/scans/clientkey/created.html", context, headers=headers)

    @admin.action(description="Revoke the selected keys, for good", permissions=["revoke"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ClientKey]) -> None:
        """End them."""
        ended = sum(keys.revoke_key(key, origin=origin(request)) for key in chosen)
        self.message_user(request, f"{ended} revoked.")

    def delete_model(self, request: HttpRequest, obj: ClientKey) -> None:
        """Revoke it first: the trail keeps that."""
        keys.revoke_key(obj, origin=origin(request))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ClientKey]) -> None:
        """Likewise."""
        for key in queryset:
            keys.revoke_key(key, origin=origin(request))
        super().delete_queryset(request, queryset)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what, newest first."""

    list_display = ("at", "action", "actor", "via", "address", "job_token", "detail")
    list_filter = ("action",)
    ordering = ("-id",)
    search_fields = ("=actor", "=job_token", "=address", "=via")
    search_help_text = "A whole user name, token, address or way in"


@admin.register(Waiver)
class WaiverAdmin(ReadOnlyAdmin):
    """All accepted risks, those of long ago as well. They are entered and withdrawn on their own page, /waivers."""

    list_display = ("rule_id", "scope", "port", "owner", "reason", "entered_by", "expires_at", "withdrawn_at")
    ordering = ("-id",)
    search_fields = ("=rule_id", "=scope", "=owner")
    search_help_text = "A whole rule, scope or owner"
