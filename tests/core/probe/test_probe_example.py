"""The example of the documentation does what it says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "probe-engine.md"


def test_the_examples_of_the_engine_used_alone_run_on_the_loopback():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    found = names["found"]
    assert found["elsewhere"] == {80: "refused"}
    assert list(found["here"]) == list(range(1, 1025))
    assert "closed" in found["here"].values()
    assert names["engine"].stats.sent >= 1024
    assert len(names["swept"]) == 256
