"""A list that comes as a file: merged with what was typed, limited, and refused in words that name the place."""

from __future__ import annotations

from html import unescape

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from scans.models import ScanJob

pytestmark = pytest.mark.django_db
FORM = {"targets": "", "profile": "default", "ports": ""}
HTMX = {"HX-Request": "true"}


def sent(content: bytes, name: str = "hosts.txt") -> SimpleUploadedFile:
    """A file as a browser sends it."""
    return SimpleUploadedFile(name, content, content_type="text/plain")


def targets() -> list[str]:
    """The targets of the one job."""
    return [row.target for row in ScanJob.objects.get().targets.all()]


def refused(client: Client, content: bytes, **fields: str) -> str:
    """The page that refuses a file."""
    response = client.post("/", {**FORM, "targets": "127.0.0.9", **fields, "upload": sent(content)})
    assert response.status_code == 422
    assert not ScanJob.objects.exists()
    page = unescape(response.content.decode())
    assert ">\n127.0.0.9</textarea>" in page, "what was typed is still there"
    return page


def test_a_file_alone_is_enough(client):
    assert client.post("/", {**FORM, "upload": sent(b"127.0.0.1\r\n# the lab\r\n127.0.0.2")}).status_code == 302
    assert targets() == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("typed", ["127.0.0.9", "127.0.0.9\r\n"])
def test_a_file_comes_after_what_was_typed(client, typed):
    client.post("/", {**FORM, "targets": typed, "upload": sent(b"127.0.0.1")})
    assert targets() == ["127.0.0.9", "127.0.0.1"]


def test_the_mark_that_windows_editors_write_is_no_part_of_the_first_target(client):
    client.post("/", {**FORM, "upload": sent(b"\xef\xbb\xbf127.0.0.1")})
    assert targets() == ["127.0.0.1"]


def test_the_text_of_a_file_with_a_bad_line_lands_in_the_text_area(client):
    response = client.post("/", {**FORM, "targets": "127.0.0.9", "upload": sent(b"127.1\n127.0.0.2")})
    page = unescape(response.content.decode())
    assert response.status_code == 422
    assert ">\n127.0.0.9\n127.1\n127.0.0.2</textarea>" in page
    assert '<a href="#l2">Line 2</a> 127.1 is not an address' in page


def test_a_preview_hands_the_text_over_and_empties_the_file_field(client):
    page = client.post("/preview", {**FORM, "upload": sent(b"127.0.0.1\n127.0.0.2")}, headers=HTMX).content.decode()
    assert 'id="typed" hx-swap-oob="true"' in page
    assert ">\n127.0.0.1\n127.0.0.2</textarea>" in page
    assert "Scan 2 targets" in page
    assert 'id="typed"' not in client.post("/preview", {**FORM, "targets": "127.0.0.1"}, headers=HTMX).content.decode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"127.0.0.1\n\xff\n", "Line 2 of hosts.txt is not UTF-8: save the file as UTF-8."),
        (b"127.0.0.1\r\n127.0.0.2\r\nm\xfcnchen.invalid", "Line 3 of hosts.txt is not UTF-8"),
        (b"127.0.0.1\n\x7fELF\0", "hosts.txt is not a text file: line 2 holds a zero byte."),
        ("127.0.0.1".encode("utf-16"), "hosts.txt is UTF-16 text: save it as UTF-8."),
        (b"", "The submitted file is empty."),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_says_where(client, content, said):
    assert said in refused(client, content)


def test_a_file_with_too_many_lines_is_handed_over_with_the_reason(client):
    page = client.post("/", {**FORM, "upload": sent(b"127.0.0.1\n" * 10_001)}).content.decode()
    assert "more than 10,000 lines" in page
    assert page.count("127.0.0.1\n") == 10_001


def test_a_file_over_the_limit_is_refused_with_both_numbers(client, settings):
    settings.SCAN_MAX_BODY_BYTES = 1000
    assert "hosts.txt has 1,001 bytes; the limit is 1,000: split it" in refused(client, b"127.0.0.1\n" * 100 + b"#")
    assert client.post("/", {**FORM, "upload": sent(b"127.0.0.1\n" * 100)}).status_code == 302


@pytest.mark.parametrize("path", ["/", "/preview"])
def test_a_body_far_over_the_limit_is_refused_unread(client, settings, path):
    settings.SCAN_MAX_BODY_BYTES = 1000
    response = client.post(path, {**FORM, "upload": sent(b"#" * 100_000)})
    assert response.status_code == 413
    assert "bytes; the limit is 67,536." in response.content.decode()
    assert response.wsgi_request._read_started is False
    fragment = client.post("/preview", {**FORM, "upload": sent(b"#" * 100_000)}, headers=HTMX)
    assert fragment.status_code == 200
    assert "bytes; the limit is 67,536." in fragment.content.decode()


def test_a_hostile_file_name_stays_text_and_short(client):
    response = client.post("/", {**FORM, "upload": sent(b"\0", name="<b>" + "x" * 300)})
    assert "&lt;b&gt;xx" in response.content.decode()
    assert "x" * 81 not in response.content.decode()


def test_the_check_against_foreign_forms_still_stands_with_a_file():
    client = Client(enforce_csrf_checks=True)
    assert client.post("/", {**FORM, "upload": sent(b"127.0.0.1")}).status_code == 403
    assert not ScanJob.objects.exists()
