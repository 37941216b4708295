"""Local stand-ins for the services that the scanner asks: real HTTP servers on 127.0.0.1, driven by the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.patience import PATIENCE

GERMAN_HOSTING = {
    "status": "success", "country": "Germany", "countryCode": "DE", "regionName": "State of Berlin", "city": "Berlin",
    "isp": "Example Carrier AG", "org": "Example Hosting GmbH", "as": "AS64500 Example Hosting GmbH",
    "asname": "EXAMPLE-HOSTING", "mobile": False, "proxy": False, "hosting": True,
}  # fmt: skip


@dataclass
class Request:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What to send back. `drip_seconds` sends the body one byte at a time."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    drip_seconds: float = 0

    @classmethod
    def json(cls, value: Any, *, status: int = 200, **headers: str) -> Answer:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status=status, body=json.dumps(value).encode(), headers={"Content-Type": "application/json", **named})


class FakeService:
    """A running server: `answer` decides each reply, `requests` is what came in."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.base_url = ""
        self.ended = threading.Event()


@contextmanager
def service(answer: Callable[[Request], Answer]) -> Iterator[FakeService]:
    """A service for the length of the block."""
    fake = FakeService(answer)

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.requests.append(Request(self.command, self.path, dict(self.headers), body))
            reply = fake.answer(fake.requests[-1])
            fake.ended.wait(reply.delay_seconds)
            try:
                self._send(reply)
            except OSError:  # the client has gone, as some tests want it to
                self.close_connection = True

        do_GET = do_POST = _do  # noqa: N815 - the names that http.server looks for

        def _send(self, reply: Answer) -> None:
            self.send_response(reply.status)
            for name, text in reply.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            for byte in reply.body if reply.drip_seconds else ():
                self.wfile.write(bytes([byte]))
                if fake.ended.wait(reply.drip_seconds):
                    return
            if not reply.drip_seconds:
                self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    fake.base_url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        fake.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def ip_api(request: Request) -> Answer:
    """ip-api.com's batch endpoint in good health: every address is a hosting provider's in Berlin."""
    return Answer.json([{**GERMAN_HOSTING, "query": query} for query in request.json], X_Rl="14", X_Ttl="60")


def in_turn(answers: Sequence[Answer | Callable[[Request], Answer]]) -> Callable[[Request], Answer]:
    """One answer after the other; the last one again and again."""
    left = list(answers)

    def answer(request: Request) -> Answer:
        chosen = left.pop(0) if len(left) > 1 else left[0]
        return chosen if isinstance(chosen, Answer) else chosen(request)

    return answer


def wait_until(holds: Callable[[], object], *, seconds: float = PATIENCE) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())
