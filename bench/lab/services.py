"""Everything that listens in the lab: one process, one socket per open port of the truth table.

    python -m bench.lab.services TRUTH.json READY     # writes the number of sockets to READY once all listen

21, 22 and 25 greet, 80 and 8080 speak HTTP, 443 and 8443 TLS and HTTP; every other port accepts and says nothing.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

GREETINGS = {22: b"SSH-2.0-LabSSH_1.0\r\n", 21: b"220 lab FTP ready\r\n", 25: b"220 mail.lab.invalid ESMTP\r\n"}
HTTP, TLS = {80, 8000, 8080}, {443, 8443}
REPLY = b"HTTP/1.1 200 OK\r\nServer: lab/1.0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PATIENCE_SECONDS = 10


class Service(asyncio.Protocol):
    """One connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._end = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, transport.abort)
        if greeting := GREETINGS.get(self._port):
            transport.write(greeting)

    def data_received(self, data: bytes) -> None:
        if self._port in HTTP | TLS and b"\r\n\r\n" in data:
            self._transport.write(REPLY)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._end.cancel()


async def serve(truth: Path, ready: Path) -> None:
    loop, context, count = asyncio.get_running_loop(), self_signed(), 0
    for workload in json.loads(truth.read_text()).values():
        for address, host in workload["hosts"].items():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for port in host["open"]:
                listener = socket.create_server((address, port), family=family, backlog=1024)
                secure = context if port in TLS else None
                await loop.create_server(lambda port=port: Service(port), sock=listener, backlog=1024, ssl=secure)
                count += 1
    ready.write_text(str(count))
    await asyncio.Event().wait()


def self_signed() -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = Path(directory) / "key", Path(directory) / "certificate"
        kind = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=lab.invalid",
        ]
        command = ["openssl", "req", "-x509", *kind, "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
