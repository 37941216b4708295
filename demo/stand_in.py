"""An HTTP server on a free port of 127.0.0.1 that answers JSON with JSON: what both stand-ins are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY_BYTES = 1 << 20
READ_SECONDS = 5

Answer = Callable[[str, Any], Any]  # the path and the body asked with; a LookupError or ValueError becomes a 400


@contextmanager
def stand_in(answer: Answer, *, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The server's base URL, for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_SECONDS

        def do_POST(self) -> None:
            """Answer one question."""
            try:
                length = min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES)
                status, reply = 200, answer(self.path, json.loads(self.rfile.read(length)))
            except (LookupError, ValueError, TypeError):
                status, reply = 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "not understood"}}
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
