"""`manage.py feeds`: updates over real HTTP, imports, and what it says of each file."""

from __future__ import annotations

import gzip
import io
import json
import socket
import threading
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from scans.core.feeds import Store
from scans.core.feeds import base as feeds_base
from scans.core.feeds import store as store_module
from scans.core.vulnerabilities import ALL_FEEDS as FEEDS
from tests.fakes import Answer, service
from tests.patience import AGES, PATIENCE
from tests.servers import refusing

SAMPLES = Path(__file__).parent / "core/intel/samples"
FEED = {feed.name: feed for feed in FEEDS}
EXITS = b"198.51.100.9\n203.0.113.200\n"


@pytest.fixture(autouse=True)
def store(tmp_path, settings, monkeypatch) -> Store:
    """An empty directory, nothing that comes with the program, and no publisher that could be reached."""
    monkeypatch.setattr(feeds_base, "SEEDS", tmp_path / "none")
    monkeypatch.setattr(store_module, "CHECK_SECONDS", -1.0)
    point_at(settings, {feed.name: "http://127.0.0.1:9/" for feed in FEEDS if feed.url}, directory=tmp_path / "intel")
    return Store(str(tmp_path / "intel"))


def point_at(settings, urls, **more):
    intel = settings.SCANNER.intel
    more = {name: str(value) if isinstance(value, Path) else value for name, value in more.items()}
    settings.SCANNER = replace(settings.SCANNER, intel=replace(intel, urls={**intel.urls, **urls}, **more))


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("feeds", *arguments, stdout=out)
    return out.getvalue()


def fails(*arguments: str) -> tuple[str, CommandError]:
    out = io.StringIO()
    with pytest.raises(CommandError) as error:
        call_command("feeds", *arguments, stdout=out)
    return out.getvalue(), error.value


def test_an_update_brings_a_file_and_asks_again_only_when_it_is_due_and_only_for_a_newer_one(store, settings):
    def answer(request):
        tag = {"ETag": '"v1"', "Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
        return Answer(status=304) if request.headers.get("If-None-Match") == '"v1"' else Answer(body=EXITS, headers=tag)

    with service(answer) as fake:
        point_at(settings, {"tor-exits": fake.base_url + "/exits"})
        assert run("update", "tor-exits") == "tor-exits: new, 2 entries\n"
        assert run("update", "tor-exits") == "tor-exits: not due, 2 entries\n"
        assert len(fake.requests) == 1
        assert run("update", "tor-exits", "--force") == "tor-exits: unchanged, 2 entries\n"
    first, second = fake.requests
    assert (first.method, first.path) == ("GET", "/exits")
    assert "If-None-Match" not in first.headers
    assert second.headers["If-None-Match"] == '"v1"'
    assert second.headers["If-Modified-Since"] == "Mon, 23 Nov 2026 12:00:00 GMT"
    record = store.record(FEED["tor-exits"])
    assert record.checked_at > record.fetched_at
    assert record.origin == fake.base_url + "/exits"


def test_a_file_is_due_once_its_time_is_over(store, settings):
    with service(lambda _: Answer(body=EXITS)) as fake:
        point_at(settings, {"tor-exits": fake.base_url})
        run("update", "tor-exits")
        feed = FEED["tor-exits"]
        old = replace(store.record(feed), checked_at=timezone.now() - timedelta(seconds=feed.refresh_seconds))
        store.is_still_good(feed, old, at=old.checked_at)
        run("update", "tor-exits")
        assert len(fake.requests) == 2


def test_what_was_imported_is_not_taken_for_what_a_publisher_sent(store, settings, tmp_path):
    (tmp_path / "exits.txt").write_bytes(EXITS)
    run("import", "tor-exits", str(tmp_path / "exits.txt"))
    with service(lambda _: Answer(body=EXITS, headers={"ETag": '"v1"'})) as fake:
        point_at(settings, {"tor-exits": fake.base_url})
        assert run("update", "tor-exits", "--force") == "tor-exits: new, 2 entries\n"
    assert "If-None-Match" not in fake.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=404), "HTTP 404"),
        (Answer(status=429), "HTTP 429"),
        (Answer(status=503), "HTTP 503"),
        (Answer(status=304), "HTTP 304"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), "the service redirects to where it may not"),
        (Answer(body=b""), "there are no entries in it"),
        (
            Answer(body=b"<html>\n<p>Sign in\n"),
            "line 1: '<html>' is not an address; 2 of 2 entries cannot be read",
        ),
        (Answer(body=b"\n" * (25 << 20)), "the reply is larger than 1048576 bytes"),
        (Answer(body=b"198.51.100.9\n\xff\n"), "line 2: not UTF-8 text"),
        (Answer(body=b"198.51.100.9\n"), "it holds 1 entries only: if that is right, import it"),
    ],
    ids=["404", "429", "503", "304 unasked", "redirect", "empty", "html", "25 MB", "bytes", "shrunk"],
)
def test_a_bad_answer_is_told_and_what_was_there_stays_in_use(answer, said, store, settings, tmp_path):
    (tmp_path / "exits.txt").write_bytes(b"198.51.100.1\n198.51.100.2\n198.51.100.3\n198.51.100.4\n")
    run("import", "tor-exits", str(tmp_path / "exits.txt"))
    before = store.record(FEED["tor-exits"])
    with service(lambda _: answer) as fake:
        point_at(settings, {"tor-exits": fake.base_url})
        out, error = fails("update", "tor-exits", "--force")
    assert out == f"tor-exits: failed: {said}\n"
    assert (str(error), error.returncode) == ("1 could not be updated. What was in use before still is.", 1)
    assert store.record(FEED["tor-exits"]) == before
    assert store.load(FEED["tor-exits"]).entries == 4


def test_a_reply_that_ends_before_its_length_is_no_file(store, settings):
    def answer(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + EXITS)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        point_at(settings, {"tor-exits": f"http://127.0.0.1:{server.getsockname()[1]}"})
        out, _ = fails("update", "tor-exits")
        thread.join(PATIENCE)
    assert out.startswith("tor-exits: failed: ")
    assert not store.has(FEED["tor-exits"])


def test_one_publisher_that_is_down_costs_nothing_of_the_others(store, settings):
    with refusing() as port, service(lambda _: Answer(body=EXITS)) as fake:
        point_at(settings, {"fastly": f"http://127.0.0.1:{port}", "tor-exits": fake.base_url})
        out, _ = fails("update", "fastly", "tor-exits")
    assert out == "fastly: failed: no connection\ntor-exits: new, 2 entries\n"


def test_a_slow_publisher_does_not_hold_up_the_others_for_ever(store, settings, monkeypatch):
    monkeypatch.setattr("scans.core.feeds.fetch.SECONDS", 0.3)
    with service(lambda r: Answer(body=EXITS, delay_seconds=AGES if "slow" in r.path else 0)) as fake:
        point_at(settings, {"fastly": fake.base_url + "/slow", "tor-exits": fake.base_url}, connect_timeout_seconds=0.3)
        out, _ = fails("update", "fastly")
        monkeypatch.setattr("scans.core.feeds.fetch.SECONDS", PATIENCE)
        point_at(settings, {}, connect_timeout_seconds=PATIENCE)
        assert run("update", "tor-exits") == "tor-exits: new, 2 entries\n"
    assert out == "fastly: failed: no answer in time\n"


def test_a_publisher_may_lead_on_to_the_file_of_the_day_and_nowhere_else(settings):
    scores = b"cve,epss,percentile\nCVE-2099-0001,0.5,0.5\n"

    def answer(request):
        if request.path == "/current":
            return Answer(status=302, headers={"Location": "/2026-11-23"})
        if request.path == "/away":
            return Answer(status=302, headers={"Location": "http://127.0.0.1:9/2026-11-23"})
        return Answer(body=scores)

    with service(answer) as fake:
        point_at(settings, {"epss": fake.base_url + "/current"})
        assert run("update", "epss") == "epss: new, 1 entries\n"
        point_at(settings, {"epss": fake.base_url + "/away"})
        out, _ = fails("update", "epss", "--force")
    assert out == "epss: failed: the service redirects to where it may not\n"


@pytest.mark.parametrize("where", ["http://[", "http://127.0.0.1:99999/", "http://\u00b9\u00b2/"])
def test_a_redirect_to_no_address_costs_nothing_of_the_others(where, store, settings):
    def answer(request):
        if request.path == "/odd":
            return Answer(status=302, headers={"Location": where})
        return Answer(body=b"192.0.2.1\n")

    with service(answer) as fake:
        point_at(settings, {"kev": fake.base_url + "/odd", "tor-exits": fake.base_url})
        out, _ = fails("update", "kev", "tor-exits")
    assert out.startswith("kev: failed: the service redirects to ")
    assert out.endswith("\ntor-exits: new, 1 entries\n")


def test_the_body_of_a_redirect_is_capped_and_not_unpacked(settings):
    bomb = gzip.compress(bytes(64 << 20), 1)
    headers = {"Location": "/away", "Content-Encoding": "gzip"}
    with service(lambda request: Answer(status=302, body=bomb, headers=headers)) as fake:
        point_at(settings, {"kev": fake.base_url})
        tracemalloc.start()
        fails("update", "kev")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 32 << 20


def test_without_names_those_with_special_terms_and_those_without_an_address_are_left_alone(settings):
    asked = set()

    def answer(request):
        asked.add(request.path.strip("/"))
        return Answer(status=404)

    with service(answer) as fake:
        point_at(settings, {feed.name: f"{fake.base_url}/{feed.name}" for feed in FEEDS if feed.url})
        fails("update")
    assert asked == {feed.name for feed in FEEDS if feed.url} - {"firehol-level1"}
    assert "azure" not in asked
    assert {"aws", "tor-exits", "drop-v4", "drop-v6", "ipsum"} <= asked


def test_one_without_an_address_says_where_a_person_finds_it():
    out, _ = fails("update", "azure")
    assert out.startswith("azure: failed: it has no fixed address: get it from https://www.microsoft.com/")


def test_offline_nobody_is_asked(settings):
    with service(lambda _: Answer(body=EXITS)) as fake:
        point_at(settings, {"tor-exits": fake.base_url}, offline=True)
        _, error = fails("update")
        assert fake.requests == []
    assert "OFFLINE=1 is set. Bring the files here by other means, and use `manage.py feeds import`." in str(error)


def test_an_import_works_offline_and_a_bad_file_leaves_what_was_there(store, settings, tmp_path):
    point_at(settings, {}, offline=True)
    good, bad = SAMPLES / "spamhaus/drop_v4.json", tmp_path / "bad.json"
    bad.write_text("<html>\n")
    assert run("import", "drop-v4", str(good)) == "drop-v4: new, 2 entries\n"
    _, error = fails("import", "drop-v4", str(bad))
    assert str(error) == (
        f"{bad}: line 1: '<html>' is not an object with a network; 1 of 1 entries cannot be read. "
        "What was in use before still is."
    )
    assert store.record(FEED["drop-v4"]).origin == "drop_v4.json"
    assert store.load(FEED["drop-v4"]).entries == 2


def test_an_import_of_what_is_not_there_and_of_what_is_too_large_is_told(tmp_path):
    _, error = fails("import", "drop-v4", str(tmp_path / "nothing"))
    assert str(error) == f"{tmp_path / 'nothing'}: No such file or directory"
    with (tmp_path / "large").open("wb") as file:
        file.truncate(25 << 20)
    _, error = fails("import", "drop-v4", str(tmp_path / "large"))
    assert "it is larger than 2 MiB" in str(error)


def test_a_name_that_there_is_not_is_told_with_those_that_there_are():
    for arguments in (("update", "tor"), ("import", "tor", "/dev/null")):
        _, error = fails(*arguments)
        assert str(error) == f"There is no feed 'tor'. There are: {', '.join(FEED)}."


def test_status_says_of_each_file_what_it_is(store, tmp_path):
    run("import", "drop-v4", str(SAMPLES / "spamhaus/drop_v4.json"))
    (store.directory / "ipsum.txt").write_bytes(b"<html>\n")
    lines = [f"198.51.100.{n}" for n in range(100)]
    (tmp_path / "exits").write_text("\n".join([*lines, "evil\x1b[31m"]))
    run("import", "tor-exits", str(tmp_path / "exits"))
    out, error = fails("status")
    assert str(error) == "A file cannot be used: get or import another one."
    blocks = {block.split()[0]: block for block in out.split("\n\n")[1:]}
    assert set(blocks) == set(FEED)
    assert "  none here" in blocks["aws"]
    assert "ok       2 entries, of 2026-11-24, here for 0 h" in blocks["drop-v4"]
    assert "from     drop_v4.json" in blocks["drop-v4"]
    assert store.record(FEED["drop-v4"]).sha256 in blocks["drop-v4"]
    assert "BAD      line 1: '<html>' is not an IPv4 address and a number" in blocks["ipsum"]
    assert "ok       100 entries, 1 left out (line 101: 'evil [31m' is not an address)" in blocks["tor-exits"]
    assert "\x1b" not in out


def test_status_is_there_for_programs_too_and_says_what_is_overdue(store):
    run("import", "drop-v4", str(SAMPLES / "spamhaus/drop_v4.json"))
    feed = FEED["drop-v4"]
    store.is_still_good(feed, store.record(feed), at=timezone.now() - timedelta(days=9))
    found = {state["name"]: state for state in json.loads(run("status", "--json"))}
    assert found["drop-v4"]["is_overdue"] is True
    assert found["drop-v4"]["entries"] == 2
    assert "file" not in found["aws"]
