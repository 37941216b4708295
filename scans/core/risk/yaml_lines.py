"""YAML as plain data that remembers its lines. What a rule file never needs, and a hostile one lives on, is refused.

No anchors and aliases (a few of them make a list of millions), no deep nesting, no key twice, no objects of Python.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import SafeConstructor

MAX_DEPTH = 8
MAX_NODES = 20_000
_MAPPING, _LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as safe; ten times as fast


class YamlError(ValueError):
    """Not what can be read; the text says on which line, and what is wrong there."""


class Lined(dict[str, object]):
    """A mapping that knows on which line of its file it begins, and each of its keys; from 1."""

    line: int = 0
    lines: dict[str, int]


def read_yaml(text: str) -> object:
    """Mappings (as Lined), lists, texts and numbers. Raises YamlError."""
    try:
        _refuse_hostile(text)
        node = yaml.compose(text, Loader=_LOADER)
        return None if node is None else _plain(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(f"line {mark.line + 1 if mark else 1}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter of numbers and dates that are none
        raise YamlError(" ".join(str(error).split())) from error


def _refuse_hostile(text: str) -> None:
    """Look at the events first: they come one after another, whatever they would be together."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        mark: Any = event.start_mark
        line = mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlError(f"line {line}: anchors (&) and aliases (*) are not allowed: write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise YamlError(f"line {line}: is nested deeper than {MAX_DEPTH} levels")
        if count > MAX_NODES:
            raise YamlError(f"line {line}: the file holds more than {MAX_NODES:,} parts")


def _plain(node: yaml.Node) -> object:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
        return _mapping(node, line)
    if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
        return [_plain(each) for each in node.value]
    if isinstance(node, yaml.ScalarNode):
        try:
            return SafeConstructor().construct_object(node)
        except ValueError as error:  # 4,301 digits, the 31st of February
            raise YamlError(f"line {line}: {error}") from error
    raise YamlError(f"line {line}: {node.tag} is not allowed")


def _mapping(node: yaml.MappingNode, line: int) -> Lined:
    found = Lined()
    found.line, found.lines = line, {}
    for key_node, value in node.value:
        key, at = _plain(key_node), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise YamlError(f"line {at}: {key!r} is not text, as a key has to be")
        if key in found:
            raise YamlError(f"line {at}: {key!r} is there twice, first on line {found.lines[key]}")
        found[key], found.lines[key] = _plain(value), at
    return found
