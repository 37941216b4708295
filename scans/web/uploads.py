"""A text file that somebody sends with the form: how large it may be, and how it becomes text.

Django counts a file in no limit of its own, and the CSRF check reads the whole body, files and all, before any view
runs. So `body_limited` judges the body by its length first and has the CSRF check made after that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from scans.conf import max_body_bytes
from scans.core.text import clean_text

MAX_NAME_CHARS = 80
ROOM_BYTES = 65_536  # for the other fields and the wrapping of a multipart body
_LINE_END = re.compile(rb"\r\n|\r|\n")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

View = Callable[[HttpRequest], HttpResponse]


def body_limited(refuse: Callable[[HttpRequest, str], HttpResponse]) -> Callable[[View], View]:
    """Hand a body that is too long, unread, to `refuse` with the reason; make the CSRF check on any other."""

    def decorate(view: View) -> View:
        checked = csrf_protect(view)

        @csrf_exempt  # not left out: `checked` makes it
        @wraps(view)
        def limited(request: HttpRequest) -> HttpResponse:
            sent, limit = _content_length(request), most_bytes()
            if sent > limit:
                return refuse(request, f"The form and its file have {sent:,} bytes; the limit is {limit:,}.")
            return checked(request)

        return limited

    return decorate


def most_bytes() -> int:
    """A whole list typed and a whole file beside it still get an answer that keeps what was typed."""
    return 2 * max_body_bytes() + ROOM_BYTES


def _content_length(request: HttpRequest) -> int:
    """As WSGI servers give it; Django reads nothing where it is missing or no number."""
    text = str(request.META.get("CONTENT_LENGTH") or "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def read_text(upload: UploadedFile[bytes]) -> str:
    """The text of a file in UTF-8. Raises ValidationError that names the file, the line and the repair."""
    name = clean_text(upload.name or "", limit=MAX_NAME_CHARS) or "The file"
    size, limit = upload.size or 0, max_body_bytes()
    if size > limit:
        raise ValidationError(f"{name} has {size:,} bytes; the limit is {limit:,}: split it into several jobs.")
    content: bytes = upload.read()
    if content.startswith(_UTF16_MARKS):
        raise ValidationError(f"{name} is UTF-16 text: save it as UTF-8.")
    if (place := content.find(b"\0")) >= 0:
        raise ValidationError(f"{name} is not a text file: line {_line_of(content, place)} holds a zero byte.")
    try:
        return content.decode("utf-8-sig")  # Windows editors put a mark before the text
    except UnicodeDecodeError as error:
        line = _line_of(content, error.start)
        raise ValidationError(f"Line {line:,} of {name} is not UTF-8: save the file as UTF-8.") from error


def _line_of(content: bytes, place: int) -> int:
    return len(_LINE_END.findall(content, 0, place)) + 1
