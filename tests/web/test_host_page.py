"""A host's page: verdict, doubt, identity, every probe, findings, sources, words; and the ways to have no result."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scans.core.summary import INSTRUCTION
from scans.core.types import Facts, Outcome, SourceState, Summary, SummaryState
from scans.models import TargetResult, TargetState
from tests.factories import (
    lease,
    make_address,
    make_failure,
    make_job,
    make_question,
    make_report,
    make_result,
    make_service,
    make_source,
)
from tests.many_sources import many_sources
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def page(client):
    """The page of a row, as it is sent."""

    def read(row: TargetResult) -> str:
        response = client.get(row.get_absolute_url())
        assert response.status_code == 200
        assert policy_of(response) == POLICY
        assert response["Cache-Control"] == "private, no-store"
        text = response.content.decode()
        assert inline_parts(text) == []
        return text

    return read


@pytest.fixture
def text(page):
    """The words of a row's page."""
    return lambda row: " ".join(re.sub(r"<[^>]*>", " ", page(row)).split())


def test_the_verdict_names_level_reasons_doubt_and_figures(text):
    seen = make_address(open_ports=[22, 6379], filtered=[25, 3306])
    words = text(make_result(make_report("127.66.0.1", seen)))
    assert "High Cache, search or coordination store on 6379; SSH reachable on 22." in words
    assert "Not known: 2 of 24 ports did not answer (25, 3306)." in words
    assert "Open ports 2 seen" in words
    assert "Ports answered 22 of 24" in words
    assert "Sources answered 1 of 1 asked" in words


def test_a_host_that_answers_everywhere_is_said_to_and_lists_only_the_ports_that_were_asked(page, text):
    ports = range(1, 65536)
    services = [make_service(22, "SSH"), make_service(443)]
    seen = make_address(open_ports=ports, ports=ports, services=services)
    row = make_result(make_report("127.66.0.1", replace(seen, answers_everywhere=True)))
    words = text(row)
    assert "Low SSH reachable on 22" in words
    assert "Open ports 65535 seen: answers everywhere" in words
    assert "An open port counts only where a service said what it is: 1 of 65535." in words
    assert "it accepts connections on every port. Here are those that were asked what they are" in words
    assert "PostgreSQL by custom" not in words
    bare = make_result(
        make_report("127.66.0.2", replace(make_address("127.66.0.2", open_ports=[80]), answers_everywhere=True))
    )
    assert "A service stands here once one says what it is." in text(bare)
    assert "No open port was seen" not in text(bare)
    ordinary = text(make_result(make_report("127.66.0.3", make_address("127.66.0.3", open_ports=[80]))))
    assert "answers everywhere" not in ordinary


def test_the_points_of_the_findings_add_up_to_the_score(page, text):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22, 6379])))
    points = [int(n) for n in re.findall(r'finding__points"><b>(\d+)</b>', page(row))]
    assert sum(points) == row.risk_score > 0
    assert f"Score {row.risk_score} of 100" in text(row)


def test_confirmed_access_comes_before_findings_with_more_points(page, text):
    redis = make_service(6379, "Redis", access="PING answered PONG")
    private = make_address("10.0.0.1", services=[redis], open_ports=[102, 3306, 5432], is_global=False)
    row = make_result(make_report("10.0.0.1", private))
    assert [finding["rule_id"] for finding in row.verdict["findings"]][:2] == ["ACC-001", "EXP-008"]
    row.verdict["findings"].sort(key=lambda finding: -finding["points"])  # as it was stored before
    row.save()
    assert row.verdict["findings"][0]["points"] > 35
    shown = re.findall(r'<article class="finding" id="f-([A-Z]+-\d+)"', page(row))
    assert shown[0] == "ACC-001"
    assert sorted(shown) == sorted(finding["rule_id"] for finding in row.verdict["findings"])
    assert "Critical Access without authentication confirmed ; database listener on 3306, 5432" in text(row)


def test_above_a_hundred_the_page_says_that_the_scale_ends(text):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[23, 445, 2375, 3306, 3389, 6379])))
    assert "Score 100 of 100" in text(row)
    assert re.search(r"Score: the sum is \d+, the scale ends at 100 100", text(row))


def test_a_finding_has_evidence_remediation_rule_and_reference(text):
    words = text(make_result(make_report("127.66.0.1", make_address(open_ports=[6379]))))
    assert "Evidence Redis on 6379 Fix Bind to loopback or a private network; enable authentication." in words
    assert "Rule EXP-009 · CIS Controls v8 4.4" in words
    assert "level at least High" in words


def test_every_value_of_the_identity_names_its_source_and_when_it_was_said(page):
    said_at = datetime(2026, 11, 24, 9, 14, 2, tzinfo=UTC)
    seen = make_address(sources=[make_source(is_cached=True, observed_at=said_at)])
    found = re.findall(
        r'<div class="fact"><dt>(.*?)</dt><dd>(.*?)</dd><dd class="source">(.*?)</dd></div>',
        page(make_result(make_report("127.66.0.1", seen))),
    )
    values = {label: re.sub(r"<.*?>", "", value) for label, value, _ in found}
    assert values["Organisation"] == "Example Hosting GmbH"
    assert values["Network"] == "AS64500 EXAMPLE-HOSTING"
    assert values["Place"] == "Berlin, State of Berlin, Germany"
    assert values["Kind of network"] == "Hosting; no proxy, VPN or Tor exit; not mobile"
    for label, _, source in found[2:]:
        assert "ip-api" in source, label
        assert '<time class="nowrap" datetime="2026-11-24T09:14:02+00:00">24 Nov 2026, 09:14:02</time>' in source
        assert " old</span>" in source
        assert "cached" in source


def test_what_a_source_did_not_say_is_neither_yes_nor_no(text):
    seen = make_address(sources=[make_source(facts=Facts(is_mobile=True))])
    words = text(make_result(make_report("127.66.0.1", seen)))
    assert "Kind of network Mobile; not said: hosting, proxy ip-api" in words
    assert "Organisation not known no source said it; ip-api: ok" in words


def test_where_sources_differ_both_stand_there_with_their_names(page, text):
    row = make_result(make_report("127.66.0.1", make_address(sources=many_sources())))
    words = text(row)
    assert "Place sources differ Berlin, State of Berlin, Germany ip-api and abuseipdb" in words
    assert re.search(r"Amsterdam, Netherlands geo .{21,25} 6 days old cached", words)
    assert "Organisation Example Hosting GmbH ip-api" in words, "another name for it is no dispute"
    assert "Example Holding BV rdap" in words
    assert "Network AS64500 EXAMPLE-HOSTING ip-api and cymru" in words
    assert words.count("sources differ") == 1
    assert "Registry RIPE NCC, registered in NL rdap and cymru" in words, "which is no place"
    assert "Host names, not confirmed old.example.invalid reverse-dns" in words


def test_what_is_known_against_it_and_what_others_saw_say_whose_word_it_is(text):
    words = text(make_result(make_report("127.66.0.1", make_address(sources=many_sources()))))
    assert re.search(
        r"Reputation What sources have .* Abuse score 87 of 100, 1,204 reports abuseipdb .* Seen by others", words
    )
    assert re.search(r"Classified as malicious: Mirai greynoise", words)
    assert re.search(
        r"Vulnerabilities, inferred from versions CVE-2022-0543, CVE-2023-44487 internetdb .* 6 days old", words
    )
    assert "Intelligence 11 of 14" in words
    assert "Told of the address: ip-api.invalid:80" in words
    quiet = text(make_result(make_report("127.66.0.1")))
    assert "Reputation" not in quiet
    assert "Seen by others" not in quiet


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (SourceState.EMPTY, "nothing known"),
        (SourceState.RATE_LIMITED, "rate limited"),
        (SourceState.UNAUTHORIZED, "unauthorized"),
        (SourceState.FAILED, "failed"),
        (SourceState.SKIPPED, "skipped"),
        (SourceState.NOT_APPLICABLE, "not applicable"),
    ],
)
def test_a_source_without_an_answer_shows_its_state_and_reason(text, state, shown):
    seen = make_address(sources=[make_source(state, reason="the reason it gave")])
    words = text(make_result(make_report("127.66.0.1", seen)))
    assert f"ip-api {shown} the reason it gave" in words
    assert f"Place not known no source said it; ip-api: {shown}" in words
    costs = "It costs this report country, city, provider, AS; proxy, mobile and hosting flags." in words
    assert costs == (state not in (SourceState.EMPTY, SourceState.NOT_APPLICABLE))


def test_every_probe_stands_there_with_state_reason_attempts_and_latency(page):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22], filtered=[25])))
    table = page(row).split('class="table table--cards every"')[1].split("</table>")[0]
    rows = [" ".join(re.sub(r"<[^>]*>", " ", cells).split()) for cells in re.findall(r"<tr>(.*?)</tr>", table)[1:]]
    assert len(rows) == 24
    assert "22 SSH open syn-ack 1 12 ms" in rows
    assert "25 SMTP filtered timeout 2 no answer" in rows
    assert "80 HTTP closed conn-refused 1 12 ms" in rows


def test_the_page_of_a_host_with_all_ports_stays_small(page):
    seen = make_address(open_ports=[22, 80], filtered=range(100, 40_000, 2), ports=range(1, 65_536))
    body = page(make_result(make_report("127.66.0.1", seen)))
    assert len(body) < 60_000
    assert "19950" in body, "how many were filtered"
    assert re.search(r"and 19,8\d\d more", body)
    assert body.count('class="services__port') == 2


def test_a_host_where_every_port_is_open_stays_small_too(page):
    seen = make_address(open_ports=range(1, 65_536), ports=())
    body = page(make_result(make_report("127.66.0.1", seen)))
    assert len(body) < 200_000
    assert "Here are 128 of 65535 open ports" in body


def test_eight_addresses_with_a_thousand_silent_ports_each_stay_small_too(page):
    seen = [make_address(f"127.66.0.{n}", filtered=range(1, 1001), ports=()) for n in range(1, 9)]
    body = page(make_result(make_report("many.invalid", *seen)))
    assert len(body) < 250_000
    assert "25 of 1000 probes" in body


def test_of_many_ports_those_that_are_closed_have_no_row_of_their_own(page):
    body = page(make_result(make_report("127.66.0.1", make_address(open_ports=[22], filtered=[25], ports=range(1, 501)))))
    table = body.split('class="table table--cards every"')[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + 2
    assert "2 of 500 probes" in body


def test_the_strip_of_many_ports_draws_what_is_not_closed(page):
    body = page(make_result(make_report("127.66.0.1", make_address(open_ports=[22], filtered=[25], ports=range(1, 501)))))
    strip = body.split('class="strip"')[1].split("</svg>")[0]
    assert (strip.count("strip__open"), strip.count("strip__doubt"), strip.count("strip__closed")) == (1, 3, 0)
    assert 'aria-label="1 open, 498 closed, 1 without an answer"' in strip


def test_the_ports_by_state_add_up(page):
    body = page(make_result(make_report("127.66.0.1", make_address(open_ports=[22], filtered=[25, 80]))))
    table = body.split('class="table table--cards probes"')[1].split("</table>")[0]
    counts = [int(n) for n in re.findall(r'data-label="Ports">(\d+)<', table)]
    assert counts[-1] == 24 == sum(counts[:-1])


def test_a_name_with_several_addresses_has_a_block_for_each(text):
    first, second = make_address("127.66.0.6", open_ports=[22]), make_address("2001:db8::7", open_ports=[443])
    words = text(make_result(make_report("two.invalid", first, second)))
    assert "Probes answered 48 of 48" in words
    assert "48 of 48 probes answered" in words
    assert "127.66.0.6 address 1 of 2 Identity" in words
    assert "2001:db8::7 address 2 of 2 Identity" in words
    assert words.count("Services 1 open") == 2


def test_a_clean_host_is_not_called_safe(text):
    words = text(make_result(make_report("127.66.0.1")))
    assert "Low 24 of 24 ports answered, all closed. Not a promise of safety." in words
    assert "No rule fired. That says what was looked at, not that the host is safe." in words


def test_a_host_that_nobody_answered_for_is_unknown_and_not_low(text):
    silent = make_address(filtered=[22, 80], ports=(), sources=[make_source(SourceState.FAILED, reason="HTTP 503")])
    words = text(make_result(make_report("127.66.0.1", silent)))
    assert "Unknown Nothing was observed: all 2 probes timed out. This is not a low risk." in words
    assert "Score none" in words


def test_a_name_that_does_not_resolve_has_its_own_state(text):
    words = text(make_result(make_failure("shop.invalid")))
    assert "Unknown The name could not be resolved , so there was no address to probe." in words
    assert "Failed to resolve shop.invalid: Name or service not known" in words
    assert "Services" not in words


def test_a_refused_target_names_the_rule_and_the_remedy(text):
    assert "Set SCAN" not in text(make_result(make_failure("shop.invalid")))
    reason = "10.0.0.1 is out of scope: 10.0.0.1 is a private address. Set SCAN_ALLOW_NETWORKS=10.0.0.1 to allow it."
    words = text(make_result(make_failure("10.0.0.1", "refused_scope", reason, outcome=Outcome.REFUSED)))
    assert "Outside the allowed scope. Not one packet went to it." in words
    assert reason in words


def test_a_target_that_was_given_up_says_what_failed(text):
    words = text(make_result(make_failure("127.66.0.1", "gave_up", "Gave up after 5 attempts: the worker died each time.")))
    assert "The scan of this target failed." in words
    assert "Gave up after 5 attempts" in words


@pytest.mark.parametrize(
    ("state", "shown"), [("pending", "waits for a worker"), ("leased", "A worker has this target in work")]
)
def test_a_target_without_a_result_says_where_it_stands(text, state, shown):
    job = make_job("127.66.0.1")
    if state == "leased":
        lease(job.targets.all())
    assert shown in text(job.targets.get())


def test_the_words_of_a_model_stand_apart_and_are_named(page, text):
    words = Summary(
        state=SummaryState.WRITTEN,
        text="Redis can be reached from anywhere.",
        recommendation="Close 6379.",
        deterministic_text="High: Redis on 6379.",
        model="gemini-3.5-flash",
        citations=("EXP-009",),
    )
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[6379]), words=words))
    assert "High: Redis on 6379. Written by a model gemini-3.5-flash" in text(row)
    frame = page(row).split('class="model"')[1]
    assert "Redis can be reached from anywhere." in frame
    assert 'href="#f-EXP-009"' in frame
    assert "Close 6379." in frame
    facts = dict(re.findall(r'<li id="fact-(F\d+)"><b>F\d+</b> <bdi>(.*?)</bdi>', frame))
    cited = re.search(r'<a class="ref" href="#fact-(F\d+)">', frame)[1]
    assert "rule: EXP-009; title: Cache, search or coordination store" in facts[cited]
    assert f"saw {len(facts)} facts" in frame


def said_by_model(**changes) -> Summary:
    words = Summary(
        state=SummaryState.WRITTEN, text="Redis answers.", recommendation=None, deterministic_text="High.",
        model="gemini-x-001",
        citations=("EXP-009",), cited_facts=("F3", "F1"), finish_reason="STOP",
        usage={"prompt_tokens": 400, "candidates_tokens": 12, "latency_ms": 1900, "targets": 3},
    )  # fmt: skip
    return replace(words, **changes)


def test_cited_facts_stand_beside_the_words_and_the_call_is_accounted_for(page, text):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[6379]), words=said_by_model()))
    make_question(row)
    frame = page(row).split('class="model"')[1].split("What the model was sent")[0]
    assert re.findall(r'href="#fact-(F\d+)"', frame) == ["F1", "F3"]
    assert "open ports: 6379" in frame
    assert "412 tokens, 1.9 s, for 3 targets together ended with STOP" in text(row)


def test_what_the_model_was_sent_is_shown_word_for_word_and_escaped(page, text):
    seen = make_address(open_ports=[6379], sources=[make_source(facts=Facts(organisation=HOSTILE))])
    row = make_result(make_report("127.66.0.1", seen, words=said_by_model()))
    question = make_question(row)
    body = page(row)
    shown = body.split('aria-label="What the model was sent, as JSON">')[1].split("</pre>")[0]
    assert html.unescape(shown) == question.text
    assert "<script>" not in shown
    assert html.unescape(body.split('aria-label="The instruction to the model">')[1].split("</pre>")[0]) == INSTRUCTION
    assert "To gemini-3.5-flash" in text(row)


def test_what_is_shown_is_what_was_sent_even_if_it_would_be_put_otherwise_now(page):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[6379]), words=said_by_model()))
    make_question(row, text='{"facts": [{"id": "F1", "seen": "as it was"}]}', prompt_version=1)
    body = page(row)
    assert "seen: as it was" in body
    assert "The instruction to the model" not in body, "of another version only the facts are known"


def test_an_answer_used_again_says_so_and_that_nothing_was_sent(text):
    row = make_result(make_report("127.66.0.1", words=said_by_model(usage={"cached": 1})))
    make_question(row, was_sent=False)
    assert "an answer to the same question, used again" in text(row)
    assert "Nothing was sent for this target" in text(row)


def test_a_failed_call_shows_what_was_sent_all_the_same(page):
    row = make_result(
        make_report("127.66.0.1", words=said_by_model(state=SummaryState.FAILED, reason="no answer within 20 s"))
    )
    make_question(row)
    assert "What the model was sent" in page(row)


@pytest.mark.parametrize(
    ("state", "reason", "shown"),
    [
        (SummaryState.DETERMINISTIC, "", "No model was asked for this job."),
        (SummaryState.NO_KEY, "", "GEMINI_API_KEY"),
        (SummaryState.SKIPPED, "offline", "The model was not asked. offline"),
        (SummaryState.RATE_LIMITED, "asked again after 30 s", "too many requests"),
        (SummaryState.UNAUTHORIZED, "API_KEY_INVALID", "refused the key. API_KEY_INVALID"),
        (SummaryState.REJECTED, "names port 9999", "thrown away. names port 9999"),
        (SummaryState.FAILED, "timed out", "did not answer. timed out"),
    ],
)
def test_missing_words_have_a_state_and_a_reason(text, state, reason, shown):
    words = Summary(state=state, text="Low.", recommendation=None, deterministic_text="Low: all closed.", reason=reason)
    page_text = text(make_result(make_report("127.66.0.1", words=words)))
    assert "Low: all closed. No words of a model" in page_text
    assert shown in page_text


def test_while_the_model_is_asked_the_verdict_is_already_there(text):
    row = make_result(make_report("127.66.0.1"), state=TargetState.SCANNED)
    words = text(row)
    assert "24 of 24 ports answered" in words
    assert "The model has been asked" in words


POLL = {"HTTP_HX_REQUEST": "true"}


def test_a_page_without_a_report_asks_until_there_is_one_and_then_no_more(client):
    job = make_job("127.66.0.1")
    row = job.targets.get()
    url = row.get_absolute_url()
    assert f'hx-get="{url}?seen=pending"' in client.get(url).content.decode()
    assert client.get(f"{url}?seen=pending", **POLL).status_code == 204, "nothing new is not sent again"
    lease(job.targets.all())
    working = client.get(f"{url}?seen=pending", **POLL)
    assert working.status_code == 200
    assert f'hx-get="{url}?seen=leased"' in working.content.decode()
    make_result(make_report("127.66.0.1", make_address(open_ports=[22])), job=job)
    done = client.get(f"{url}?seen=leased", **POLL)
    body = done.content.decode()
    assert done.status_code == 286
    assert "SSH reachable" in body
    assert "every 2s" not in body
    assert "<html" not in body


def test_while_only_the_words_are_missing_only_they_are_asked_for(client):
    row = make_result(make_report("127.66.0.1"), state=TargetState.SCANNED)
    url = row.get_absolute_url()
    assert client.get(url).content.decode().count("hx-get") == 1
    assert client.get(f"{url}?seen=scanned", **POLL).status_code == 204
    type(row).objects.update(state=TargetState.DONE, finished_at=row.scanned_at)
    words = client.get(f"{url}?seen=scanned", **POLL)
    assert words.status_code == 286
    assert words.content.decode().strip().startswith('<section class="block" id="words"')
    assert "hx-get" not in words.content.decode()


def test_a_cancelled_target_says_so(text):
    words = text(
        make_result(make_failure("127.66.0.1", "cancelled", "Cancelled.", outcome=Outcome.CANCELLED), state="cancelled")
    )
    assert "The job was cancelled before this target was scanned." in words
    assert "this is not a low risk" in words


def test_a_rejected_answer_shows_the_facts_and_none_of_its_words(page):
    said = Summary(
        state=SummaryState.REJECTED, text="Low.", recommendation=None, deterministic_text="Low.", reason="names port 9"
    )
    body = page(make_result(make_report("127.66.0.1", make_address(open_ports=[22]), words=said)))
    assert '<li id="fact-F1">' in body
    assert "thrown away" in body


def test_the_evidence_can_be_read_as_json_and_has_a_digest(page):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22])))
    body = html.unescape(page(row))
    shown = body.split('aria-label="The stored evidence as JSON">')[1].split("</pre>")[0]
    assert json.loads(shown) == row.evidence
    plain = json.dumps(row.evidence, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert body.count(hashlib.sha256(plain.encode()).hexdigest()) == 2, "on screen, and on top of the print"


def test_long_evidence_is_cut_and_says_so(page):
    body = page(make_result(make_report("127.66.0.1", make_address(filtered=range(1, 1001), ports=()))))
    shown = body.split('aria-label="The stored evidence as JSON">')[1].split("</pre>")[0]
    assert shown.endswith("… cut here; the JSON of the job has the rest")
    assert len(html.unescape(shown)) < 13_000


def test_names_that_run_from_right_to_left_are_kept_apart_from_our_words(page):
    seen = make_address(sources=[make_source(facts=Facts(organisation="שלום 1", city="مرحبا"))])
    body = page(make_result(make_report("https://127.66.0.1/שלום", seen)))
    assert "<bdi>שלום 1</bdi>" in body
    assert re.search(r'<h1 class="head__address"><bdi>[^<]*</bdi></h1>', body)


def test_scan_again_fills_the_form_with_this_target_and_its_profile(page):
    row = make_result(make_report("https://shop.invalid/?a=1&b=2", make_address(open_ports=[443])))
    assert 'href="/?targets=https%3A%2F%2Fshop.invalid%2F%3Fa%3D1%26b%3D2&amp;profile=default"' in page(row)
    own = make_result(make_report("127.66.0.1"), job=make_job("127.66.0.1", ports="22,8000-8010"))
    assert 'href="/?targets=127.66.0.1&amp;profile=own&amp;ports=22%2C8000-8010"' in page(own)


def test_everything_from_outside_is_escaped(page):
    facts = Facts(organisation=HOSTILE, isp='"><img src=x onerror=alert(1)>', as_name="{{ settings.SECRET_KEY }}")
    said = Summary(
        state=SummaryState.WRITTEN,
        text=f"<a href='javascript:alert(1)'>x</a>{HOSTILE}",
        recommendation=HOSTILE,
        deterministic_text=HOSTILE,
        model=HOSTILE,
        citations=(HOSTILE,),
    )
    sources = [make_source(facts=facts), make_source(SourceState.FAILED, reason=HOSTILE)]
    report = make_report(f"https://shop.invalid/{HOSTILE}", make_address(open_ports=[80], sources=sources), words=said)
    body = page(make_result(report)).replace("javascript:alert(1)&#x27;", "")
    assert "<script>" not in body
    assert "<img" not in body
    assert "{{ settings.SECRET_KEY }}" in body
    assert body.count("&lt;script&gt;") >= 6


def test_a_hostile_error_is_escaped(page):
    body = page(make_result(make_failure("shop.invalid", "resolve_failed", f"Failed to resolve: {HOSTILE}")))
    assert HOSTILE not in body
    assert "&lt;script&gt;" in body
