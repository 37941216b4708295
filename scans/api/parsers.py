"""JSON bodies, read with limits: size before the first byte, depth by refusing what Python cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from scans.api.errors import BodyTooLargeError, LengthRequiredError
from scans.conf import max_body_bytes


class LimitedJSONParser(JSONParser):
    """DRF reads the stream past Django's own limit, so the limit stands here."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The decoded body. Raises ParseError (400) or BodyTooLargeError (413)."""
        request = (parser_context or {})["request"]
        limit = max_body_bytes()
        if request.META.get("HTTP_TRANSFER_ENCODING"):  # WSGI does not say where such a body ends
            raise LengthRequiredError("Send the body with a Content-Length, not in chunks.")
        if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
            raise BodyTooLargeError(f"The body is larger than {limit:,} bytes.")
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise ParseError("JSON parse error - nested too deeply") from error
