"""The service that this one replaces, rebuilt for comparison: threads, blocking connects, results in memory.

Four targets at a time; the 24 ports of a target one after another, each waited for at most 0.8 s; no retry. It asks no
intelligence service here, and stores nothing: that is what makes it hard to beat where nothing waits.

    python bench/original.py PORT
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORTS = (21, 22, 25, 53, 80, 110, 143, 443, 465, 587, 993, 995, 1433, 1521, 1723, 2049, 2375, 3306, 3389, 5432, 5900, 6379,
         8080, 8443)  # fmt: skip
HIGH_RISK = {22, 3306, 3389, 5900, 2375}
CONNECT_SECONDS = 0.8
TARGETS_AT_ONCE = 4

scans: dict[str, dict] = {}
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """POST /scan and GET /scan/TOKEN."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        targets = [str(address) for text in body["ip_addresses"] for address in expand(text)]
        token = secrets.token_hex(16)
        scans[token] = {"token": token, "total_targets": len(targets), "status": "running", "results": []}
        threading.Thread(target=scan, args=(token, targets), daemon=True).start()
        self._answer(200, {"token": token})

    def do_GET(self) -> None:
        with lock:
            found = scans.get(self.path.rpartition("/")[2])
            if found is None:
                self._answer(404, {"detail": "Token not found."})
            else:
                self._answer(200, found | {"completed_targets": len(found["results"])})

    def _answer(self, status: int, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def expand(text: str) -> list[object]:
    """It took single addresses only; the bench writes them as one network, so that the request stays small."""
    return list(ipaddress.ip_network(text)) if "/" in text else [text]


def scan(token: str, targets: list[str]) -> None:
    with ThreadPoolExecutor(TARGETS_AT_ONCE) as pool:
        for result in pool.map(assess, targets):
            with lock:
                scans[token]["results"].append(result)
    scans[token]["status"] = "complete"


def assess(target: str) -> dict:
    address = socket.gethostbyname(target)
    tests = [{"port": port, "status": "open" if is_open(address, port) else "closed"} for port in PORTS]
    opened = [test["port"] for test in tests if test["status"] == "open"]
    level = "high" if HIGH_RISK & set(opened) else "medium" if len(opened) > 2 else "low"
    return {
        "target": target, "ip_address": address, "availability": bool(opened), "open_ports": opened,
        "accessibility_tests": tests, "risk_level": level,
    }  # fmt: skip


def is_open(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(CONNECT_SECONDS)
        return probe.connect_ex((address, port)) == 0


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
