"""Error pages: code, sentence, next step; no detail of ours, no database, and never a page for a program."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.urls("tests.web.failing_urls")
PAGES = [
    ("/suspicious", 400, "The request could not be read"),
    ("/forbidden", 403, "You may not do this"),
    ("/no/such/page", 404, "There is nothing at this address"),
    ("/too-large", 413, "The form is too large"),
    ("/broken", 500, "Something failed here"),
]


@pytest.fixture
def visitor() -> Client:
    """A client that gets the page of an exception instead of the exception."""
    return Client(raise_request_exception=False)


@pytest.mark.parametrize(("path", "status", "sentence"), PAGES)
def test_an_error_page_needs_no_database_and_tells_no_detail(visitor, path, status, sentence):
    """Without the django_db mark every query raises."""
    response = visitor.get(path)
    page = response.content.decode()
    assert response.status_code == status
    assert f"<h1>{sentence}</h1>" in page
    assert '<a class="button" href="/">' in page
    assert 'action="/theme"' in page
    assert "a secret detail" not in page
    assert policy_of(response) == POLICY
    assert inline_parts(page) == []


@pytest.mark.parametrize(("path", "status"), [("/api/broken", 500), ("/api/no/such", 404)])
def test_a_program_gets_a_problem_and_never_a_page(visitor, path, status):
    response = visitor.get(path)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert set(response.json()) == {"type", "title", "status", "detail", "code"}


def test_a_host_that_is_not_ours_is_a_bad_request(visitor):
    assert b"The request could not be read" in visitor.get("/", headers={"Host": "evil.invalid"}).content
    problem = visitor.get("/scan/abc", headers={"Host": "evil.invalid"})
    assert (problem.status_code, problem["Content-Type"]) == (400, "application/problem+json")


def test_when_even_the_error_page_fails_there_is_still_an_answer(visitor, settings):
    """Static files that were never collected make every template with a style sheet fail."""
    manifest = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": manifest}
    response = visitor.get("/broken")
    page = response.content.decode()
    assert response.status_code == 500
    assert "Something failed here" in page
    assert inline_parts(page) == []
    assert policy_of(response) == POLICY


def test_where_a_login_is_demanded_pages_lead_to_it_and_error_pages_still_show(visitor, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    for path in ("/", "/jobs/x", "/jobs/x/hosts/1"):
        assert visitor.get(path)["Location"] == f"/login?next={path}"
    assert b"There is nothing at this address" in visitor.get("/no/such/page").content
