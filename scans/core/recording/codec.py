"""Frozen dataclasses as JSON and back, by their type hints: what comes back has exactly the types that they declare."""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Value = TypeVar("Value")


def encoded(value: Any) -> Any:
    """The value as JSON; fields that hold their default are left out."""
    if is_dataclass(value):
        held = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: encoded(each) for field, each in held if each != _default(field)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, IPv4Address | IPv6Address):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [encoded(each) for each in value]
    return value


def decoded(kind: type[Value], said: Any) -> Value:
    """The value again. Raises ValueError with words for what is not of this type."""
    value: Value = _decoded(kind, said)
    return value


def _decoded(kind: Any, said: Any) -> Any:
    if kind is Any:
        return said
    origin, inner = get_origin(kind), get_args(kind)
    if origin is dict:
        return _plain(dict, said)
    if origin in (Union, types.UnionType):
        return _one_of(inner, said)
    if origin is tuple:
        return _tuple(inner, said)
    if is_dataclass(kind):
        return _dataclass(kind, said)
    if kind in (int, float, str, bool, dict):
        return _plain(kind, said)
    if kind is type(None):
        if said is not None:
            raise ValueError(f"{_short(said)} is not null")
        return None
    if isinstance(said, str):
        return _from_text(kind, said)
    raise ValueError(f"{_short(said)} is not text")


def _one_of(kinds: tuple[Any, ...], said: Any) -> Any:
    problem = ValueError("nothing fits")
    for kind in kinds:
        try:
            return _decoded(kind, said)
        except ValueError as error:
            problem = problem if kind is type(None) else error
    raise problem


def _tuple(inner: tuple[Any, ...], said: Any) -> tuple[Any, ...]:
    if not isinstance(said, list):
        raise ValueError(f"{_short(said)} is not a list")
    if inner[1:] == (...,):
        return tuple(_decoded(inner[0], each) for each in said)
    if len(said) != len(inner):
        raise ValueError(f"{_short(said)} does not hold {len(inner)} values")
    return tuple(_decoded(kind, each) for kind, each in zip(inner, said, strict=True))


def _dataclass(kind: Any, said: Any) -> Any:
    if not isinstance(said, dict):
        raise ValueError(f"{_short(said)} is not an object")
    hints, known = _hints(kind), {field.name: field for field in fields(kind)}
    if unknown := sorted(set(said) - set(known)):
        raise ValueError(f"there is no {_short(unknown[0])} in a {kind.__name__}")
    if missing := [name for name, field in known.items() if name not in said and _default(field) is MISSING]:
        raise ValueError(f"{missing[0]!r} is missing in a {kind.__name__}")
    found = {}
    for name, value in said.items():
        try:
            found[name] = _decoded(hints[name], value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return kind(**found)


def _plain(kind: type, said: Any) -> Any:
    if kind is float and isinstance(said, int) and not isinstance(said, bool):
        return float(said)
    if not isinstance(said, kind) or (isinstance(said, bool) and kind is not bool):
        raise ValueError(f"{_short(said)} is not a {kind.__name__}")
    return said


def _from_text(kind: Any, said: str) -> Any:
    """An enumeration, a moment with its zone, or an address."""
    if kind in (IPv4Address, IPv6Address):
        address = ip_address(said)
        if not isinstance(address, kind):
            raise ValueError(f"{_short(said)} is of the other version")
        return address
    if kind is datetime:
        moment = datetime.fromisoformat(said)
        if moment.tzinfo is None:
            raise ValueError(f"{_short(said)} has no zone")
        return moment
    return kind(said)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _short(said: Any) -> str:
    text = repr(said)
    return text if len(text) <= 60 else f"{text[:60]}…"
