"""The page of one's own API keys: made here, shown once, revoked."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST

from scans.models import Scope
from scans.services import keys
from scans.services.access import origin

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year", "": "without end"}
MEANINGS = {
    Scope.READ: "read jobs and results",
    Scope.SCAN: "submit, cancel, repeat and delete",
    Scope.ADMIN: "everybody's jobs",
}


class KeyForm(forms.Form):
    """A new key."""

    name = forms.CharField(
        max_length=keys.MAX_NAME_CHARS, widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off"})
    )
    scopes = forms.MultipleChoiceField(choices=list(MEANINGS.items()), initial=list(keys.DEFAULT_SCOPES))
    days = forms.ChoiceField(
        choices=list(LIFETIMES.items()), initial="90", required=False, widget=forms.Select(attrs={"class": "input"})
    )

    def __init__(self, data: QueryDict | None = None, *, owner: User) -> None:
        super().__init__(data)
        if not owner.is_staff:
            self.fields["scopes"].choices = [(s, text) for s, text in MEANINGS.items() if s != Scope.ADMIN]  # type: ignore[attr-defined]

    def expires_at(self) -> datetime | None:
        """The moment that the chosen lifetime leads to."""
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=int(days)) if days else None


@cache_control(private=True, no_store=True)
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def own_keys(request: HttpRequest) -> HttpResponse:
    """The keys, and a form for another. A new key stands in the answer itself: a redirect would have to store it."""
    owner = _user(request)
    if request.method != "POST":
        return _page(request, owner, KeyForm(owner=owner))
    form = KeyForm(request.POST, owner=owner)
    if form.is_valid():
        name, scopes = form.cleaned_data["name"], form.cleaned_data["scopes"]
        try:
            _, text = keys.create_key(owner, name=name, scopes=scopes, expires_at=form.expires_at(), origin=origin(request))
        except keys.KeyRefusedError as error:
            form.add_error(None, str(error))
        else:
            return _page(request, owner, KeyForm(owner=owner), new=text)
    return _page(request, owner, form, status=422)


@require_POST
@login_required
def revoke(request: HttpRequest, prefix: str) -> HttpResponse:
    """End one of one's own keys."""
    key = keys.keys_of(_user(request)).filter(prefix=prefix).first() if prefix.isalnum() else None
    if key is None:
        raise Http404("You have no such key.")
    keys.revoke_key(key, origin=origin(request))
    return redirect("keys")


def _user(request: HttpRequest) -> User:
    """The user, whom login_required has made sure of."""
    if not isinstance(request.user, User):
        raise Http404("Nobody is signed in.")
    return request.user


def _page(request: HttpRequest, owner: User, form: KeyForm, *, new: str = "", status: int = 200) -> HttpResponse:
    context = {"form": form, "keys": keys.keys_of(owner), "new_key": new}
    return render(request, "scans/keys.html", context, status=status)
