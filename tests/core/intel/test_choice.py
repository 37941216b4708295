"""Which sources are on, by what an operator set, and what is refused at start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scans.core.intel import SOURCES, check_choice, switched_on
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource
from scans.core.options import IntelOptions, OptionError, Options
from scans.core.types import IPAddress


class Chosen(RemoteSource):
    """Chosen here, and never asked."""

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        raise AssertionError


class First(Chosen):
    name = "first"
    is_default = True


class Second(Chosen):
    name = "second-one"
    is_default = False


class Keyed(Chosen):
    name = "keyed"
    is_default = False
    key = KeyUse.REQUIRED


class MayHaveAKey(Chosen):
    name = "may-have-a-key"
    is_default = False
    key = KeyUse.OPTIONAL


KINDS = (First, Second, Keyed, MayHaveAKey)


def options(**env: str) -> IntelOptions:
    return Options.from_env(env).intel


def names(**env: str) -> list[str]:
    chosen = options(**env)
    check_choice(chosen, KINDS)
    return [source.name for source in switched_on(chosen, KINDS)]


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("", ["first"]),
        ("default", ["first"]),
        ("second-one", ["second-one"]),
        ("second-one first", ["first", "second-one"]),  # always in the order of the sources
        ("default, second-one", ["first", "second-one"]),
        ("default,-first", []),
        ("-first,default", []),
        ("-second-one", ["first"]),  # nothing else is named: of those on by default
        ("default,second-one,-second-one", ["first"]),
        ("may-have-a-key", ["may-have-a-key"]),
    ],
)
def test_names_switch_on_and_with_a_hyphen_off(text, on):
    assert names(INTEL_SOURCES=text) == on


def test_a_key_switches_its_source_on_unless_it_is_taken_out_or_others_are_named():
    keys = {"INTEL_KEYED_KEY": "k1", "INTEL_MAY_HAVE_A_KEY_KEY": "k2"}
    assert names(**keys) == ["first", "keyed", "may-have-a-key"]
    assert names(**keys, INTEL_SOURCES="default,-keyed") == ["first", "may-have-a-key"]
    assert names(**keys, INTEL_SOURCES="first") == ["first"]
    assert names(INTEL_KEYED_KEY="  ") == ["first"]


def test_a_key_for_a_source_that_takes_none_switches_nothing_on():
    assert names(INTEL_SECOND_ONE_KEY="k") == ["first"]


def test_each_source_gets_its_own_key_and_url():
    chosen = options(
        INTEL_SOURCES="default,second-one",
        INTEL_KEYED_KEY="the-key",
        INTEL_SECOND_ONE_URL="http://127.0.0.1:9/base/",
    )
    first, second, keyed = switched_on(chosen, KINDS)
    assert (first.settings.key, first.settings.base_url) == ("", "")
    assert (second.settings.key, second.settings.base_url) == ("", "http://127.0.0.1:9/base")
    assert keyed.settings.key == "the-key"
    assert "the-key" not in repr(chosen) + repr(keyed.settings)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"INTEL_SOURCES": "keyed"}, "INTEL_SOURCES: keyed needs a key: set INTEL_KEYED_KEY."),
        (
            {"INTEL_SOURCES": "default,third"},
            "INTEL_SOURCES: 'third' is no source. There are: first, keyed, may-have-a-key, second-one.",
        ),
        (
            {"INTEL_SOURCES": "default,-third"},
            "INTEL_SOURCES: '-third' is no source. There are: first, keyed, may-have-a-key, second-one.",
        ),
        (
            {"INTEL_THIRD_KEY": "not-to-be-shown"},
            "INTEL_THIRD_KEY: 'third' is no source. There are: first, keyed, may-have-a-key, second-one.",
        ),
        (
            {"INTEL_THIRD_URL": "http://127.0.0.1:9"},
            "INTEL_THIRD_URL: 'third' is no source. There are: first, keyed, may-have-a-key, second-one.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_start_by_name(env, says):
    with pytest.raises(OptionError) as refused:
        names(**env)
    assert str(refused.value) == says


@pytest.mark.parametrize("key", ["two words", "line\nfeed", "caf\u00e9", "nul\x00byte"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key):
    with pytest.raises(OptionError) as refused:
        options(INTEL_KEYED_KEY=key)
    assert str(refused.value) == "INTEL_KEYED_KEY holds white space or characters beyond ASCII, which no key has."


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.name)
def test_a_source_that_needs_a_key_is_never_on_without_one(kind):
    assert not (kind.is_default and kind.key is KeyUse.REQUIRED)
    if kind.key is KeyUse.REQUIRED:
        with pytest.raises(OptionError, match=f"{kind.name} needs a key"):
            check_choice(options(INTEL_SOURCES=kind.name), SOURCES)


def test_no_two_sources_have_one_name_or_one_variable():
    variables = [kind.name.upper().replace("-", "_") for kind in SOURCES]
    assert len(set(variables)) == len(SOURCES)
