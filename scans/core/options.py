"""Frozen options of the scanner and `Options.from_env`, read by the settings and by the bare command.

Every value is typed and checked here, once, so that a wrong one fails at start with its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from scans.core.types import IPNetwork

LOOPBACK: tuple[IPNetwork, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TRUE, FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


class OptionError(ValueError):
    """A value in the environment that cannot be meant; the text names the variable and the repair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScopeOptions:
    """Which addresses may be scanned. Global ones may, unless denied; all others only if allowed."""

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()
    treat_as_global: tuple[IPNetwork, ...] = ()  # demo and tests: a loopback range that counts as public


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeOptions:
    """Budgets of the probe stage. 0 means: no limit of its own (descriptors still bound max_inflight)."""

    rate_per_second: float = 2000  # new connections a second to global addresses; allowed private ones are not paced
    network_per_second: float = 1000  # of these, to addresses of one network: a /24, or a /48 of IPv6
    max_inflight: int = 4000
    per_host: int = 128
    attempts: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveOptions:
    """Names to addresses, by the system's resolver."""

    timeout_seconds: float = 10
    max_addresses: int = 8
    threads: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class FingerprintOptions:
    """Whether open ports are asked what they are, and how much patience there is for it."""

    is_on: bool = True
    seconds: float = 5  # for one service, whatever it does; all services of one address have twice as long together
    max_inflight: int = 512  # conversations at once, in all and with one address
    per_host: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class IntelOptions:
    """Where intelligence comes from and how long it is waited for. Sources are known by name: scans/core/intel."""

    offline: bool = False
    sources: tuple[str, ...] = ("default",)  # names; "default" for those on by default, "-name" for all but this one
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # by source
    urls: Mapping[str, str] = field(default_factory=dict)  # by source, in place of its own
    directory: str = ""  # of list files and databases; empty: only what is built in
    dns_servers: tuple[tuple[str, int], ...] = ()  # address and port; empty: the system's
    connect_timeout_seconds: float = 3
    read_timeout_seconds: float = 5
    dns_timeout_seconds: float = 2  # for one question; zones that are slower are not worth a report's time
    grace_seconds: float = 5  # how long after the last probe an answer is still waited for


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskOptions:
    """By which rules results are rated."""

    rules_file: str = ""  # an operator's rules over the built-in ones; empty: there are none


@dataclass(frozen=True, kw_only=True, slots=True)
class AiOptions:
    """The model that explains."""

    api_key: str = field(default="", repr=False)
    model: str = "gemini-3.5-flash"
    base_url: str = ""  # empty: Google's own
    api_version: str = "v1beta"
    timeout_seconds: float = 20
    send_private: bool = False  # whether facts about addresses that are not public may leave
    calls_per_day: int = 1000  # by all workers together; 0: none
    calls_per_job: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """All of them."""

    scope: ScopeOptions = field(default_factory=ScopeOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    resolve: ResolveOptions = field(default_factory=ResolveOptions)
    fingerprint: FingerprintOptions = field(default_factory=FingerprintOptions)
    intel: IntelOptions = field(default_factory=IntelOptions)
    risk: RiskOptions = field(default_factory=RiskOptions)
    ai: AiOptions = field(default_factory=AiOptions)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Options:
        """Read the environment. Raises OptionError naming the variable that is wrong."""
        profile = env.get("PROFILE", "local") or "local"
        if profile not in ("local", "server"):
            raise OptionError(f"PROFILE={profile!r} is neither 'local' nor 'server'.")
        treat_as_global = _networks(env, "SCAN_TREAT_AS_GLOBAL")
        if treat_as_global and profile == "server":
            raise OptionError("SCAN_TREAT_AS_GLOBAL is for demos and tests on one machine: unset it or use PROFILE=local.")
        allow = _networks(env, "SCAN_ALLOW_NETWORKS") + (LOOPBACK if profile == "local" else ())
        return cls(
            scope=ScopeOptions(allow=allow, deny=_networks(env, "SCAN_DENY_NETWORKS"), treat_as_global=treat_as_global),
            probe=ProbeOptions(
                rate_per_second=_number(env, "PROBE_RATE", 2000),
                network_per_second=_number(env, "PROBE_NETWORK_RATE", 1000),
                max_inflight=int(_number(env, "PROBE_MAX_INFLIGHT", 4000)),
                per_host=int(_number(env, "PROBE_PER_HOST", 128)),
                attempts=int(_number(env, "PROBE_ATTEMPTS", 2, low=1, high=5)),
            ),
            resolve=ResolveOptions(timeout_seconds=_number(env, "DNS_TIMEOUT_SECONDS", 10, low=0.1, high=60)),
            fingerprint=FingerprintOptions(
                is_on=_flag(env, "FINGERPRINT", is_on=True),
                seconds=_number(env, "FINGERPRINT_SECONDS", 5, low=0.5, high=30),
            ),
            intel=IntelOptions(
                offline=_flag(env, "OFFLINE"),
                sources=tuple(re.split(r"[,\s]+", env.get("INTEL_SOURCES", "").strip() or "default")),
                keys=_keys(env),
                urls=_urls(env),
                directory=_path(env, "INTEL_DIR") or str(Path(_path(env, "DATA_DIR") or Path("data").absolute()) / "intel"),
                dns_servers=_dns_servers(env, "DNS_SERVERS"),
                grace_seconds=_number(env, "INTEL_GRACE_SECONDS", 5, low=0.1, high=60),
            ),
            risk=RiskOptions(rules_file=_path(env, "RISK_RULES")),
            ai=AiOptions(
                api_key=(env.get("GEMINI_API_KEY") or env.get("GOOGLE_API_KEY") or "").strip(),
                model=_model(env, "GEMINI_MODEL", "gemini-3.5-flash"),
                base_url=_url(env, "GEMINI_BASE_URL", ""),
                api_version=env.get("GEMINI_API_VERSION") or "v1beta",
                timeout_seconds=_number(env, "GEMINI_TIMEOUT_SECONDS", 20, low=1, high=100),
                send_private=_flag(env, "AI_SEND_PRIVATE"),
                calls_per_day=int(_number(env, "AI_CALLS_PER_DAY", 1000)),
                calls_per_job=int(_number(env, "AI_CALLS_PER_JOB", 200)),
            ),
        )


def _networks(env: Mapping[str, str], name: str) -> tuple[IPNetwork, ...]:
    found = []
    for text in re.split(r"[,\s]+", env.get(name, "").strip()):
        if not text:
            continue
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise OptionError(f"{name}: {text!r} is not a network ({error}). Write it like 10.0.0.0/8.") from error
    return tuple(found)


def _by_source(what: str, env: Mapping[str, str]) -> dict[str, str]:
    """INTEL_<SOURCE>_KEY and the like, by the source's name: INTEL_IP_API_KEY is that of ip-api."""
    found = ((re.fullmatch(rf"INTEL_([A-Z0-9_]+)_{what}", name), text.strip()) for name, text in env.items())
    by_name = {match[1].lower().replace("_", "-"): text for match, text in found if match and text}
    if what == "URL" and (text := env.get("IP_API_BASE_URL", "").strip()):  # an older name
        by_name.setdefault("ip-api", text)
    return by_name


def _keys(env: Mapping[str, str]) -> dict[str, str]:
    """Keys go into headers and URLs. The text of the error does not show what was given: it may be most of a key."""
    keys = _by_source("KEY", env)
    for name, key in keys.items():
        if not re.fullmatch(r"[!-~]+", key):
            variable = f"INTEL_{name.upper().replace('-', '_')}_KEY"
            raise OptionError(f"{variable} holds white space or characters beyond ASCII, which no key has.")
    return keys


def _urls(env: Mapping[str, str]) -> dict[str, str]:
    named = {f"INTEL_{name.upper().replace('-', '_')}_URL": (name, url) for name, url in _by_source("URL", env).items()}
    return {name: _url({variable: url}, variable, "") for variable, (name, url) in named.items()}


def _dns_servers(env: Mapping[str, str], name: str) -> tuple[tuple[str, int], ...]:
    """Addresses, with a port behind a colon if it is not 53: 192.0.2.53, 127.0.0.1:5353, [2001:db8::53]:5353."""
    servers = []
    for text in filter(None, re.split(r"[,\s]+", env.get(name, "").strip())):
        match = re.fullmatch(
            r"\[(?P<v6>[^\]]+)\](?::(?P<port6>\d+))?|(?P<v4>[0-9.]+)(?::(?P<port4>\d+))?|(?P<bare>[0-9a-fA-F:]+)", text
        )
        try:
            said = match.groupdict() if match else {}
            address = ip_address(said.get("v6") or said.get("v4") or said.get("bare") or "")
            port = int(said.get("port6") or said.get("port4") or 53)
        except ValueError as error:
            raise OptionError(f"{name}: {text!r} is not an address, or an address and a port.") from error
        if not 1 <= port <= 65535:
            raise OptionError(f"{name}: {port} is not a port.")
        servers.append((str(address), port))
    return tuple(servers)


def _number(env: Mapping[str, str], name: str, default: float, *, low: float = 0, high: float = 1e9) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise OptionError(f"{name}={text!r} is not a number.") from error
    if not low <= value <= high:
        raise OptionError(f"{name}={text} is outside {low:g} to {high:g}.")
    return value


def _flag(env: Mapping[str, str], name: str, *, is_on: bool = False) -> bool:
    text = env.get(name, "").strip().lower() or ("1" if is_on else "0")
    if text not in TRUE | FALSE:
        raise OptionError(f"{name}={text!r} is neither 1 nor 0.")
    return text in TRUE


def _url(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, "").strip() or default
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise OptionError(f"{name} is not an http(s) address without query.")
    return text.rstrip("/")


def _path(env: Mapping[str, str], name: str) -> str:
    text = env.get(name, "").strip()
    return str(Path(text).expanduser().absolute()) if text else ""


def _model(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, "").strip() or default
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", text):  # it becomes part of a URL's path
        raise OptionError(f"{name} is not a model name.")
    return text
