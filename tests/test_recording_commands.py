"""`manage.py record` and `manage.py replay`: from a job to a private file, and back to the same words."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from tests.factories import make_job
from tests.guard import opened
from tests.patience import PATIENCE
from tests.servers import public
from tests.stand_ins import KEY, every_source


@pytest.mark.django_db(transaction=True)
def test_a_job_is_recorded_in_a_private_file_and_its_replay_is_the_same(settings, tmp_path, capsys):
    job, file = make_job(public(61), "nowhere.invalid", ports="9"), tmp_path / "job.jsonl"
    with every_source() as world:
        settings.SCANNER = replace(
            settings.SCANNER, intel=world.options(replace(settings.SCANNER.intel, grace_seconds=PATIENCE))
        )
        call_command("record", job.token, to=str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text()
    with opened() as sockets:
        call_command("replay", str(file))
    assert capsys.readouterr().out.endswith("2 targets replayed, 0 differ\n")
    assert sockets == []
    assert job.targets.filter(state="pending").count() == 2  # the job itself is left alone
    with pytest.raises(CommandError, match="there already"):
        call_command("record", job.token, to=str(file))


@pytest.mark.django_db(transaction=True)
def test_what_differs_is_printed_as_plain_text_and_is_exit_code_1(tmp_path, capsys):
    job, file = make_job(public(62), ports="9"), tmp_path / "job.jsonl"
    call_command("record", job.token, to=str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    report = next(line for line in lines if line["kind"] == "report")
    report["evidence"]["target"]["text"] = "\x1b[31mred"
    report["verdict"]["level"] = "critical"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SystemExit) as ended:
        call_command("replay", str(file))
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert 'target 0 /verdict/level: was "critical", is "low"' in printed
    assert "\x1b" not in printed


def test_no_such_job_and_no_such_file_are_said_in_words(tmp_path, db):
    for token in ("0" * 32, "../../etc/passwd"):
        with pytest.raises(CommandError, match="no such job"):
            call_command("record", token)
    with pytest.raises(CommandError, match="No such file"):
        call_command("replay", str(tmp_path / "missing"))
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(CommandError, match="Line 1: it is not UTF-8"):
        call_command("replay", str(tmp_path / "picture"))
