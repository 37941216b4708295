"""Purging by age from the admin: first what would go, counted, and only then a button that takes it."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from scans.services import purge
from scans.services.access import origin
from scans.services.purge import Amounts, Selection

MAX_DAYS = 36_500
PATIENCE_SECONDS = 10.0  # for one request; a chunk takes a fraction of a second, and what is left waits for the next press


class PurgeForm(forms.Form):
    """The command's options that make sense in a browser."""

    days = forms.IntegerField(
        min_value=1, max_value=MAX_DAYS, initial=90, label="Jobs that ended more than this many days ago"
    )
    replies = forms.BooleanField(required=False, label="All cached replies of sources, not only expired ones")

    def selection(self) -> Selection:
        """Everybody's jobs of that age."""
        return Selection(before=timezone.now() - timedelta(days=self.cleaned_data["days"]))


def purge_view(model_admin: admin.ModelAdmin[Any], request: HttpRequest) -> HttpResponse:
    """The form; with an age in the address what would go; sent, it goes."""
    if not model_admin.has_delete_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        form = PurgeForm(request.POST)
        if form.is_valid():
            _purge(request, form)
            return redirect("admin:scans_scanjob_changelist")
    else:
        form = PurgeForm(request.GET if "days" in request.GET else None)
    amounts = None
    if form.is_bound and form.is_valid():
        amounts = purge.purgeable(form.selection(), all_replies=form.cleaned_data["replies"])
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Purge",
        "opts": model_admin.opts,
        "form": form,
        "amounts": amounts,
        "is_empty": amounts == Amounts(),
    }
    return TemplateResponse(request, "admin/scans/scanjob/purge.html", context)


def _purge(request: HttpRequest, form: PurgeForm) -> None:
    """As much as one request may take; the audit trail has what was taken."""
    total, until = Amounts(), time.monotonic() + PATIENCE_SECONDS
    is_whole = True
    with closing(purge.purge(form.selection(), origin=origin(request), all_replies=form.cleaned_data["replies"])) as chunks:
        for taken in chunks:
            total += taken
            if time.monotonic() > until:
                is_whole = False
                break
    taken_words = f"Purged {total.jobs} jobs with {total.targets} targets and {total.replies} replies of sources."
    if is_whole:
        messages.success(request, taken_words)
    else:
        messages.warning(request, f"{taken_words} More is left: purge again, or run manage.py purge.")
