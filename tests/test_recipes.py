"""The recipes of CONTRIBUTING.md hold: the suite follows their steps in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scans.core.risk import default_pack

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
LEFT_OUT = shutil.ignore_patterns(".*", "data", "staticfiles", "__pycache__", "node_modules", "screenshots")
RULE_TESTS = ["test_pack.py", "test_scorer.py", "test_worked_addresses.py"]


@pytest.fixture
def copy(tmp_path) -> Path:
    """The project as somebody who works on it has it."""
    return Path(shutil.copytree(ROOT, tmp_path / "project", ignore=LEFT_OUT))


def recipe(heading: str) -> dict[str, str]:
    """What a section tells to add: to which file, and which lines."""
    (section,) = re.findall(rf"^## {heading}\n(.+?)(?=^## |\Z)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^( *)```\w+ (\S+)\n(.+?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return {file: re.sub(rf"^{indent}", "", lines, flags=re.MULTILINE) for indent, file, lines in blocks}


def run(copy: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run([sys.executable, *argv], cwd=copy, env=env, capture_output=True, text=True, timeout=400)


def run_tests(copy: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    return run(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", *tests)


def add(file: Path, lines: str) -> None:
    file.write_text(file.read_text() + lines)


@pytest.mark.timeout(900)  # likewise
def test_a_source_is_added_as_the_recipe_says(copy):
    source, sample = "scans/core/intel/country_is.py", "tests/core/intel/samples/country-is/found.json"
    told = recipe("Add an intelligence source")
    assert told.keys() == {source, sample}
    for file, lines in told.items():
        (copy / file).parent.mkdir(exist_ok=True)
        (copy / file).write_text(lines)
    register, page = copy / "scans/core/intel/__init__.py", copy / "docs/sources.md"
    follows = "from scans.core.intel.cymru"
    text = register.read_text().replace(follows, f"from scans.core.intel.country_is import CountryIs\n{follows}")
    register.write_text(text.replace("\n    Otx,\n", "\n    Otx,\n    CountryIs,\n", 1))
    assert run(copy, "docs/generate.py").returncode == 0
    assert "\n| country-is | country | if named | https://api.country.is: the address |" in page.read_text()
    tests = [f"tests/core/intel/test_{name}.py" for name in ("samples", "http_faults", "choice")]
    ended = run_tests(copy, *tests, "-k", "country-is")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert "test_a_sample_becomes_what_it_says[country-is/found] PASSED" in ended.stdout
    assert ended.stdout.count("PASSED") > 25  # the table of faults, too
    for tool in ("ruff", "lint-imports"):
        command = [str(Path(sys.executable).with_name(tool)), *(["check", source, register] if tool == "ruff" else [])]
        checked = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=400)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.timeout(900)  # likewise
def test_a_protocol_is_added_as_the_recipe_says(copy):
    protocol, test = "scans/core/fingerprint/protocols/nntp.py", "tests/core/fingerprint/test_nntp.py"
    told = recipe("Add a protocol")
    assert told.keys() == {protocol, test}
    (copy / test).write_text(told[test])
    assert run_tests(copy, test).returncode == 1
    (copy / protocol).write_text(told[protocol])
    register, page = copy / "scans/core/fingerprint/protocols/__init__.py", copy / "docs/api.md"
    imported = "from scans.core.fingerprint.protocols.nntp import NNTP\n"
    follows = "from scans.core.fingerprint.protocols.postgres"
    text = register.read_text().replace(follows, imported + follows)
    register.write_text(text.replace("(SSH,", "(SSH, NNTP,"))
    page.write_text(page.read_text().replace("`SSH`,", "`SSH`, `NNTP`,", 1))
    ended = run_tests(copy, test, "tests/core/fingerprint/test_greetings.py")
    assert ended.returncode == 0, ended.stdout[-3000:]
    for tool in ("ruff", "lint-imports"):
        command = [str(Path(sys.executable).with_name(tool)), *(["check", protocol, register] if tool == "ruff" else [])]
        checked = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=400)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.timeout(900)  # it starts tests in programs of their own
def test_a_sign_of_what_a_page_is_made_with_is_added_as_the_recipe_says(copy):
    signs, samples = "scans/core/fingerprint/technologies.yaml", "tests/core/fingerprint/test_technologies.py"
    told = recipe("Add what a web page is made with")
    assert told.keys() == {signs, samples}
    text = (copy / samples).read_text()
    (copy / samples).write_text(text.replace("\n]\n", f"\n{told[samples]}]\n", 1))
    (name,) = re.findall(r"^- name: (.+)$", told[signs], re.MULTILINE)
    assert name in run_tests(copy, samples).stdout.partition("FAILURES")[2]  # no test passes without the entry
    add(copy / signs, told[signs])
    ended = run_tests(copy, samples)
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert re.search(rf"{name}.* PASSED", ended.stdout)


@pytest.mark.timeout(900)  # likewise
def test_a_rule_is_added_as_the_recipe_says(copy):
    told = recipe("Add a risk rule")
    assert told.keys() == {"scans/core/risk/rules.yaml", "tests/core/risk/worked_addresses.yaml"}
    tests = [f"tests/core/risk/{name}" for name in RULE_TESTS]
    for file, lines in told.items():
        add(copy / file, lines)
    pack = copy / "scans/core/risk/rules.yaml"
    version = f"{default_pack().version}-next"
    pack.write_text(pack.read_text().replace(f'version: "{default_pack().version}"', f'version: "{version}"'))
    assert run(copy, "docs/generate.py").returncode == 0

    first = run_tests(copy, *tests)
    assert re.findall(r"^FAILED \S+::(\w+)", first.stdout, re.MULTILINE) == [
        "test_a_pack_that_says_anything_else_has_another_version"
    ], first.stdout[-3000:]
    (line,) = set(re.findall(rf"{re.escape(version)} [0-9a-f]{{64}}", first.stdout))
    add(copy / "tests/core/risk/rulesets.txt", line + "\n")
    second = run_tests(copy, *tests, "tests/test_docs.py::test_generated_pages_are_fresh")
    assert second.returncode == 0, second.stdout[-3000:]
    name = re.search(r"^- name: (.+)$", told["tests/core/risk/worked_addresses.yaml"], re.MULTILINE)[1]
    assert f"[{name}] PASSED" in second.stdout
    assert "| VUL-005 |" in (copy / "docs/risk.md").read_text()
