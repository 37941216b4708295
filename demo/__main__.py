"""Start everything, submit, say where to look, and stay until Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial

from demo import gemini, ip_api, rdap
from demo.certificate import faulty_tls
from demo.client import Client
from demo.ending import EndedError, Patience
from demo.jobs import Submitted, submit_all
from demo.network import Network, TakenError
from demo.program import Program, environment, temporary_directory
from demo.scenery import DATA, FILTERED, PRIVATE_SERVICE, SERVICES, SITE_TARGETS
from demo.stand_in import stand_in


def main() -> int:
    """Run the demo; returns the exit code."""
    patience = Patience()
    try:
        with ExitStack() as stack:
            _run(stack, patience)
    except (EndedError, TakenError) as end:
        if str(end):
            print(end, file=sys.stderr)
        return end.code
    return 0


def _run(stack: ExitStack, patience: Patience) -> None:
    """In this order, and undone backwards. Raises EndedError and TakenError.

    1. What others may have taken: the ports.
    2. Who is asked: the stand-ins.
    3. Who asks: the program, and then we.
    """
    directory = stack.enter_context(temporary_directory())
    network = stack.enter_context(Network(faulty_tls(directory)))
    network.open(service for service in SERVICES if not service.is_late)
    network.filter(FILTERED)
    has_ipv6 = network.has_ipv6()
    if has_ipv6:
        network.open([PRIVATE_SERVICE])
    look_ups = stack.enter_context(stand_in(ip_api.answer, headers=ip_api.HEADERS))
    registry = stack.enter_context(stand_in(rdap.answer))
    model = stack.enter_context(stand_in(gemini.answer))
    print("Demo: starting the scanner, with services to find.", flush=True)
    program = stack.enter_context(Program(environment(directory, ip_api=look_ups, rdap=registry, gemini=model)))
    client = Client(_base())
    patience.until(client.is_ready, program)
    print("Demo: scanning them.", flush=True)
    try:
        jobs = submit_all(
            client,
            wait=partial(patience.until, program=program),
            open_late_services=lambda: network.open(service for service in SERVICES if service.is_late),
            has_ipv6=has_ipv6,
        )
    except OSError as error:  # no answer, or a refusal: is the program still there?
        patience.look(program)
        raise EndedError(1, f"The scanner does not take the demo's jobs: {error}") from error
    print(_where_to_look(client, jobs, program.login, seconds=patience.seconds()), flush=True)
    patience.for_ever(program)


def _base() -> str:
    """Where the program listens; HOST and PORT are its own settings."""
    host = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
    return f"http://{f'[{host}]' if ':' in host else host}:{os.environ.get('PORT') or '8000'}"


def _where_to_look(client: Client, jobs: Submitted, login: tuple[str, str] | None, *, seconds: float) -> str:
    """What is printed when everything is there. Tests and `screenshots` read it, too."""
    report = f"/jobs/{jobs.report}"
    pages = {
        "Report": report,
        "Host": f"{report}/hosts/{SITE_TARGETS.index(DATA) + 1}",
        "Odd job": f"/jobs/{jobs.mixed}",
        "Refused": f"/jobs/{jobs.refused}",
        "Cancelled": f"/jobs/{jobs.cancelled}",
        "History": "/history",
        "Dashboard": "/dashboard",
        "Sources": "/sources",
        "Form": "/",
        "Admin": "/admin/",
    }
    lines = [f"  {name:<11}{client.base}{path}" for name, path in pages.items()]
    who = f"  {'Login':<11}{login[0]}, password {login[1]}" if login else ""
    return "\n".join(
        ["", f"Demo: ready after {seconds:.1f} s. Look at", *lines, *([who] if who else []), "", "Ctrl-C ends it all.", ""]
    )


if __name__ == "__main__":
    sys.exit(main())
