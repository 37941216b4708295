"""An HTTP server on a free port of 127.0.0.1 that answers with JSON: what all stand-ins are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY_BYTES = 1 << 20
READ_SECONDS = 5

# The path, and the body of a POST; a ValueError becomes a 400, and so does a LookupError, or for a GET a 404.
Answer = Callable[[str, Any], Any]
NOT_UNDERSTOOD = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "not understood"}}


@contextmanager
def stand_in(answer: Answer, *, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The server's base URL, for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_SECONDS

        def do_GET(self) -> None:
            """Answer what is asked by the path alone."""
            try:
                self._send(200, answer(self.path, None))
            except LookupError:
                self._send(404, {})
            except ValueError:
                self._send(400, NOT_UNDERSTOOD)

        def do_POST(self) -> None:
            """Answer one question."""
            try:
                length = min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES)
                self._send(200, answer(self.path, json.loads(self.rfile.read(length))))
            except (LookupError, ValueError, TypeError):
                self._send(400, NOT_UNDERSTOOD)

        def _send(self, status: int, reply: Any) -> None:
            body = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that has gone is nobody's problem here."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(READ_SECONDS)
