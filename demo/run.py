"""`make demo`: the real program, with services to find on this machine and a stand-in for ip-api. Nothing leaves it.

127.66.0.0/16 counts as public here (SCAN_TREAT_AS_GLOBAL), so that a report is full; its pages say so.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORT = os.environ.get("PORT", "8000")
BASE = f"http://127.0.0.1:{PORT}"
GREETINGS = {  # address, port: what it says first; the products are invented
    ("127.66.0.10", 8080): b"HTTP/1.1 200 OK\r\nServer: example/1.0\r\nContent-Length: 5\r\n\r\nhello",
    ("127.66.0.10", 6379): b"-NOAUTH Authentication required.\r\n",
    ("127.66.0.20", 3306): b"\x4a\x00\x00\x00\x0a8.0.0-example\x00",
    ("127.66.0.20", 5900): b"RFB 003.008\n",
    ("127.66.0.30", 8443): b"",
}
DARK = ("127.66.0.30", 5432)  # never answers
TARGETS = ["127.66.0.10", "127.66.0.20", "https://127.66.0.30:8443/", "127.66.0.40/31", "shop.invalid", "10.0.0.1"]
START_SECONDS = 60


def main() -> int:
    """Start everything, submit, say where to look, and stay until Ctrl-C."""
    with ExitStack() as stack:
        for (address, port), greeting in GREETINGS.items():
            stack.enter_context(greeter(address, port, greeting))
        dark = stack.enter_context(socket.create_server(DARK, backlog=0))
        stack.enter_context(socket.create_connection(dark.getsockname()))  # fills its queue: every further SYN is dropped
        ip_api = ThreadingHTTPServer(("127.0.0.1", 0), IpApi)
        threading.Thread(target=ip_api.serve_forever, daemon=True).start()
        env = {
            **os.environ,
            "PORT": PORT,
            "DATA_DIR": stack.enter_context(tempfile.TemporaryDirectory(prefix="ipscanner-demo-")),
            "SCAN_TREAT_AS_GLOBAL": "127.66.0.0/16",
            "IP_API_BASE_URL": f"http://127.0.0.1:{ip_api.server_port}",
            "GEMINI_API_KEY": "",
            "GOOGLE_API_KEY": "",
        }
        program = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=env, start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: program.terminate())
        if wait_for(f"{BASE}/readyz", program):
            print(f"\nDemo: look at {BASE}/jobs/{submit()}\n", flush=True)
        return program.wait()


def greeter(address: str, port: int, greeting: bytes) -> socket.socket:
    """A service that greets everyone and hangs up. Close it to end it."""
    server = socket.create_server((address, port))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    connection.sendall(greeting)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    return server


class IpApi(BaseHTTPRequestHandler):
    """ip-api.com's batch endpoint, about a provider that does not exist."""

    def do_POST(self) -> None:
        """Answer about each address."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        place = {"country": "Netherlands", "countryCode": "NL", "regionName": "North Holland", "city": "Amsterdam"}
        owner = {"isp": "Example Carrier BV", "org": "Example Hosting BV", "as": "AS64500 Example Hosting BV"}
        flags = {"asname": "EXAMPLE-HOSTING", "proxy": False, "mobile": False, "hosting": True}
        body = json.dumps([{"status": "success", "query": a, **place, **owner, **flags} for a in asked]).encode()
        self.send_response(200)
        for name, value in (("X-Rl", "14"), ("X-Ttl", "60"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def wait_for(url: str, program: subprocess.Popen[bytes]) -> bool:
    """Whether it answered 200 before the time was up or the program ended."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and program.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def submit() -> str:
    """Submit the demo's targets; returns the token."""
    body = json.dumps({"endpoints": TARGETS}).encode()
    request = urllib.request.Request(f"{BASE}/scan", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(json.load(reply)["token"])


if __name__ == "__main__":
    sys.exit(main())
