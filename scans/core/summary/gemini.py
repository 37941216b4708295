"""The model's client: asks Gemini to explain facts, and falls back to the deterministic words whatever happens.

    evidence, verdict ─question()─► Question ─ask()─► Explained     a few questions may go together in one call
                           └─► Summary: why nothing is asked

Every failure ends in a Summary with a state and a short reason made here. Neither the service's error texts nor
the library's are shown or logged: they may hold the whole reply, or the key.

What google-genai 3.4.0 does unless told otherwise, each seen against a local server: it waits for ever; its timeout
counts per read, so that dripped bytes never meet it (hence a deadline of our own); it continues a cut answer without
end; it follows redirects to other hosts and takes the key along; it obeys proxies and base URLs of the environment.
Its retries do not know what the service asks for, so they are ours.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from scans.core.deadline import within
from scans.core.egress import GEMINI_BASE_URL, origin
from scans.core.options import AiOptions
from scans.core.summary.facts import ModelFacts, facts_for
from scans.core.summary.prompt import INSTRUCTION, PROMPT_VERSION, answer_schema, contents
from scans.core.summary.validator import Accepted, Rejection, split_answer, strangers, validate
from scans.core.text import clean_text
from scans.core.types import Outcome, Summary, SummaryState

if TYPE_CHECKING:
    import ssl

    import httpx2
    from google import genai
    from google.genai.types import GenerateContentConfig, GenerateContentResponse

NO_KEY_TEXT = "Gemini API key not configured"
MAX_ATTEMPTS = 3
LONGEST_WAIT_SECONDS = 5.0  # asked to wait longer, we give up at once: a report is not held back for its words
PAUSE_SECONDS = 0.5  # before asking again when nobody said how long
MAX_REPLY_BYTES = 1 << 20
MAX_OUTPUT_TOKENS = 4096  # thinking counts, too: the answer itself needs about 300
MORE_OUTPUT_TOKENS = 512  # for each further target
MORE_SECONDS = 2.0
MAX_COUNT = 10**9  # of tokens, as far as we believe the service
KEY_REPEATED = "the reply repeats the API key"
PASSING_STATUSES = frozenset({500, 502, 503, 504})
LEAST_KEY_CHARS = 8  # a shorter "key" occurs in a text by chance

log = logging.getLogger(__name__)
# Its DEBUG lines hold the headers of a reply, and those may repeat the key.
logging.getLogger("httpcore2").setLevel(logging.INFO)


class NoAnswerError(Exception):
    """The model was not asked or gave no usable answer. With `retry_in_seconds`, asking again may help.

    `is_too_much`: perhaps only since so much was asked at once.
    """

    def __init__(
        self, state: SummaryState, reason: str, *, retry_in_seconds: float | None = None, is_too_much: bool = False
    ) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.retry_in_seconds = retry_in_seconds
        self.is_too_much = is_too_much


class AskAloneError(Exception):
    """A call about several targets gave nothing that can be used: each is worth a call of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The facts about one target, and the words that it has if the model's are not to be had."""

    facts: ModelFacts
    deterministic: Summary


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What came of a question."""

    summary: Summary
    answer: str = ""  # the model's, cleaned, as JSON, if it was accepted: it may be kept for the same question


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply with status 200; `problem` says why there is no usable answer in it."""

    text: str = ""
    problem: str = ""
    model: str | None = None
    finish_reason: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)


class GeminiClient:
    """Explains one target, or a few in one call; safe to use from several threads.

    `permit` is called with the base URL before each request and raises PermissionError to forbid it.
    """

    def __init__(self, options: AiOptions, *, permit: Callable[[str], None] | None = None) -> None:
        self._options = options
        self._permit = permit
        self._base_url = options.base_url or GEMINI_BASE_URL

    @property
    def host(self) -> str:
        """Whom it asks: host and port, as the ledger has it."""
        return origin(self._base_url).partition("://")[2]

    def explain(self, evidence: Mapping[str, Any], verdict: Mapping[str, Any], deterministic: Summary) -> Summary:
        """The model's words, or the deterministic ones with the reason. The level is never touched."""
        question = self.question(evidence, verdict, deterministic)
        return self.ask([question])[0].summary if isinstance(question, Question) else question

    def question(
        self, evidence: Mapping[str, Any], verdict: Mapping[str, Any], deterministic: Summary
    ) -> Question | Summary:
        """What to ask about one target, or its words with the reason why nothing may be asked."""
        try:
            self._check_may_ask(evidence)
            self._check_permit()
        except NoAnswerError as error:
            return unasked(deterministic, error.state, error.reason)
        return Question(facts=facts_for(evidence, verdict), deterministic=deterministic)

    def ask(self, questions: Sequence[Question]) -> list[Explained]:
        """One call about these targets; what came of each, in their order. Raises AskAloneError, if there are several."""
        started_at = time.monotonic()
        many = [question.facts for question in questions]
        seconds = self._options.timeout_seconds + MORE_SECONDS * (len(many) - 1)
        reply, error = Reply(), None
        try:
            reply = self._ask(many, give_up_at=started_at + seconds)
        except NoAnswerError as caught:
            error = caught
        if len(many) > 1 and _is_too_much(reply, error):
            raise AskAloneError(error.reason if error else reply.problem)
        usage = {**reply.usage, "latency_ms": round((time.monotonic() - started_at) * 1000), "targets": len(many)}
        model = reply.model or self._options.model
        fallbacks = [_with_origin(question, model, reply.finish_reason, usage) for question in questions]
        if error:
            return [Explained(summary=unasked(fallback, error.state, error.reason)) for fallback in fallbacks]
        return _explained(fallbacks, reply, many)

    def _check_may_ask(self, evidence: Mapping[str, Any]) -> None:
        if evidence["outcome"] != Outcome.DONE:
            raise NoAnswerError(SummaryState.SKIPPED, "there is nothing to explain: the target was not scanned")
        if not self._options.api_key:
            raise NoAnswerError(SummaryState.NO_KEY, NO_KEY_TEXT)
        if not re.fullmatch(r"[!-~]+", self._options.api_key):  # it becomes a header
            raise NoAnswerError(SummaryState.UNAUTHORIZED, "the API key holds characters that no key has")
        if not self._options.send_private and not all(address["is_global"] for address in evidence["addresses"]):
            reason = "facts about an address that is not public do not leave (AI_SEND_PRIVATE=1 allows it)"
            raise NoAnswerError(SummaryState.SKIPPED, reason)

    def _ask(self, many: Sequence[ModelFacts], *, give_up_at: float) -> Reply:
        """A few attempts within one deadline. Raises NoAnswerError."""
        for attempt in range(MAX_ATTEMPTS):
            try:
                self._check_permit()
                return self._call(many, give_up_at=give_up_at)
            except NoAnswerError as error:
                wait = error.retry_in_seconds
                is_last = attempt == MAX_ATTEMPTS - 1
                if is_last or wait is None or wait > LONGEST_WAIT_SECONDS or time.monotonic() + wait >= give_up_at:
                    raise
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _check_permit(self) -> None:
        try:
            if self._permit:
                self._permit(self._base_url)
        except PermissionError as error:
            raise NoAnswerError(SummaryState.SKIPPED, clean_text(str(error)) or "not permitted") from error

    def _call(self, many: Sequence[ModelFacts], *, give_up_at: float) -> Reply:
        """One request. Its client is its own (20 ms): closing that ends this request and nobody else's."""
        seconds_left = max(0.1, give_up_at - time.monotonic())
        try:
            with closing(self._client(seconds_left)) as client:
                response = within(
                    seconds_left,
                    lambda: client.models.generate_content(
                        model=self._options.model, contents=contents(many), config=_config(many)
                    ),
                )
            return _read(response, self._options.api_key)
        except TimeoutError as error:
            raise self._too_slow() from error
        except Exception as error:  # the edge: a hostile reply can raise anything inside the library
            raise self._translated(error) from error

    def _client(self, timeout_seconds: float) -> genai.Client:
        from google import genai
        from google.genai import types

        return genai.Client(
            api_key=self._options.api_key,
            enterprise=False,  # otherwise a variable of the environment can choose another service
            http_options=types.HttpOptions(
                base_url=self._base_url,
                api_version=self._options.api_version,
                timeout=max(1, int(timeout_seconds * 1000)),
                headers={"Accept-Encoding": "identity"},
                client_args={
                    "follow_redirects": False,
                    "trust_env": False,
                    "verify": _tls(),
                    "event_hooks": {"response": [_limit_body]},
                },
            ),
        )

    def _translated(self, error: Exception) -> NoAnswerError:
        """Any error as a state and a reason of ours."""
        import httpx2
        from google.genai import errors

        if isinstance(error, NoAnswerError):
            return error
        if isinstance(error, errors.APIError):
            return _refused(error.code, error.details)
        if isinstance(error, httpx2.TimeoutException):
            return self._too_slow()
        if isinstance(error, httpx2.ConnectError):
            return NoAnswerError(SummaryState.FAILED, "no connection to the service", retry_in_seconds=PAUSE_SECONDS)
        if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
            return NoAnswerError(SummaryState.FAILED, "the connection was cut", retry_in_seconds=PAUSE_SECONDS)
        return NoAnswerError(SummaryState.FAILED, "the reply could not be read", is_too_much=True)

    def _too_slow(self) -> NoAnswerError:
        return NoAnswerError(SummaryState.FAILED, f"no answer within {self._options.timeout_seconds:g} s", is_too_much=True)


def unasked(deterministic: Summary, state: SummaryState, reason: str) -> Summary:
    """The deterministic words, with the reason why the model's are missing."""
    log.info("No words of the model (%s): %s", state, reason)
    text = NO_KEY_TEXT if state is SummaryState.NO_KEY else deterministic.text
    return replace(deterministic, state=state, reason=reason, text=text)


def recalled(question: Question, answer: str, *, model: str, finish_reason: str) -> Summary | None:
    """The words from an answer that was kept for this question; None if it would not be accepted any more."""
    checked = validate(answer, question.facts)
    if isinstance(checked, Rejection):
        return None
    return _written(_with_origin(question, model, finish_reason, {"cached": 1}), checked)


def _with_origin(question: Question, model: str, finish_reason: str, usage: Mapping[str, int]) -> Summary:
    usage = {**usage, "facts": question.facts.count, "prompt_version": PROMPT_VERSION}
    return replace(question.deterministic, model=model, finish_reason=finish_reason, usage=usage)


def _is_too_much(reply: Reply, error: NoAnswerError | None) -> bool:
    return error.is_too_much if error else bool(reply.problem) and reply.problem != KEY_REPEATED


def _explained(fallbacks: Sequence[Summary], reply: Reply, many: Sequence[ModelFacts]) -> list[Explained]:
    """Of each target the words of the model if they hold, else the fallback with what was wrong with them."""
    if reply.problem:
        return [Explained(summary=unasked(fallback, SummaryState.FAILED, reply.problem)) for fallback in fallbacks]
    answers = [reply.text] if len(many) == 1 else split_answer(reply.text, len(many))
    if isinstance(answers, Rejection):
        raise AskAloneError(answers.reason)
    return [
        _checked(fallback, validate(answer, facts, strange=strange))
        for fallback, answer, facts, strange in zip(fallbacks, answers, many, strangers(many), strict=True)
    ]


def _checked(fallback: Summary, checked: Accepted | Rejection) -> Explained:
    if isinstance(checked, Rejection):
        log.info("The model's words were rejected: %s", checked.reason)
        return Explained(summary=replace(fallback, state=SummaryState.REJECTED, reason=checked.reason))
    return Explained(summary=_written(fallback, checked), answer=checked.answer)


def _written(fallback: Summary, answer: Accepted) -> Summary:
    return replace(
        fallback,
        state=SummaryState.WRITTEN,
        text=answer.text,
        recommendation=answer.recommendation,
        citations=answer.cited_rules,
        cited_facts=answer.cited_facts,
    )


# The request


@cache
def _tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()  # the system's trust store, or SSL_CERT_FILE


def _config(many: Sequence[ModelFacts]) -> GenerateContentConfig:
    from google.genai import types

    return types.GenerateContentConfig(
        system_instruction=INSTRUCTION,
        temperature=0.1,
        max_output_tokens=MAX_OUTPUT_TOKENS + MORE_OUTPUT_TOKENS * (len(many) - 1),
        response_mime_type="application/json",
        response_json_schema=answer_schema(many),
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        safety_settings=[  # words about attacks are what a report is made of
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT,
                threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
            )
        ],
    )


# The reply


def _limit_body(response: httpx2.Response) -> None:
    """Read the body here, up to a cap. A compressed one was not asked for and may be a bomb."""
    import httpx2

    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise NoAnswerError(SummaryState.FAILED, "the reply could not be read")
    stream, body = response.stream, bytearray()
    if not isinstance(stream, httpx2.SyncByteStream):
        raise TypeError("an asynchronous stream in a synchronous client")
    try:
        for chunk in stream:
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise NoAnswerError(SummaryState.FAILED, "the reply is too large", is_too_much=True)
    finally:
        stream.close()
    response.stream = httpx2.ByteStream(bytes(body))


def _read(response: GenerateContentResponse, api_key: str) -> Reply:
    """Every way in which a 200 holds no answer. A service that plays the key back is not read at all."""
    if len(api_key) >= LEAST_KEY_CHARS and api_key in str(response.model_dump()):  # not as JSON: half characters have none
        return Reply(problem=KEY_REPEATED)
    used = response.usage_metadata
    counts = {
        "prompt_tokens": used.prompt_token_count if used else None,
        "candidates_tokens": used.candidates_token_count if used else None,
        "thoughts_tokens": used.thoughts_token_count if used else None,
    }
    usage = {name: min(max(count, 0), MAX_COUNT) for name, count in counts.items() if count is not None}
    stop = _finish_reason(response)
    problem = _problem(stop)
    text = "" if problem else response.text or ""
    return Reply(
        text=text,
        problem=problem if text else problem or "the reply holds no answer",
        model=_model(response.model_version),
        finish_reason=stop,
        usage=usage,
    )


def _finish_reason(response: GenerateContentResponse) -> str:
    """Why the prompt was not answered, or else why the answer ends where it does; "" if neither is said."""
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason:
        return _word(feedback.block_reason)
    stop = response.candidates[0].finish_reason if response.candidates else None
    return _word(stop) if stop else ""


def _problem(stop: str) -> str:
    """Why an answer that ends so is none; "" if it may be one."""
    if stop == "MAX_TOKENS":
        return "the answer was cut off (MAX_TOKENS)"
    return "" if stop in ("", "STOP") else f"the model declined to answer ({stop})"


def _word(value: str) -> str:
    """An enum's value, which the library also fills with what it does not know."""
    word = str(getattr(value, "value", value))
    return word if re.fullmatch(r"[A-Z_]{2,40}", word) else "unknown reason"


def _model(said: str | None) -> str | None:
    return said if said and re.fullmatch(r"[A-Za-z0-9._/-]{1,100}", said) else None


# Errors of the service: {"error": {"code", "message", "status", "details": [{"@type", …}]}}


def _refused(status: int, body: object) -> NoAnswerError:
    """A reply with another status than 200. Only codes are used, never a message."""
    details = list(_details(body))
    if status in (401, 403) or any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return NoAnswerError(SummaryState.UNAUTHORIZED, f"the service refused the API key (HTTP {status})")
    if status == 404:
        return NoAnswerError(SummaryState.FAILED, "model not available (HTTP 404)")
    if status == 429:
        return _rate_limited(details)
    if 300 <= status < 400:
        return NoAnswerError(SummaryState.FAILED, f"the service redirects, which is not followed (HTTP {status})")
    wait = PAUSE_SECONDS if status in PASSING_STATUSES else None
    reason = f"the service answered HTTP {status}"
    return NoAnswerError(SummaryState.FAILED, reason, retry_in_seconds=wait, is_too_much=status in (400, 413))


def _rate_limited(details: list[Mapping[str, Any]]) -> NoAnswerError:
    if "PerDay" in str([detail.get("violations") for detail in details]):
        return NoAnswerError(SummaryState.RATE_LIMITED, "the quota of the day is used up (HTTP 429)")
    for detail in details:
        # A duration of protobuf's JSON form: "27s", "27.5s".
        if match := re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)s", str(detail.get("retryDelay")), re.ASCII):
            wait = float(match[1])
            reason = f"too many requests, to be asked again in {wait:g} s (HTTP 429)"
            return NoAnswerError(SummaryState.RATE_LIMITED, reason, retry_in_seconds=wait)
    return NoAnswerError(SummaryState.RATE_LIMITED, "too many requests (HTTP 429)")


def _details(body: object) -> Iterator[Mapping[str, Any]]:
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    if isinstance(details, list):
        yield from (detail for detail in details if isinstance(detail, dict))
