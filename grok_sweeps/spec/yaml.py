"""A YAML reader for files that strangers may send, in which a value means what it looks like.

On top of PyYAML's safe loader: no aliases (a few hundred bytes of them can stand for gigabytes), no duplicate keys
(the last would win in silence), and a size limit. PyYAML reads YAML 1.1, where `013` is 11, `1:30` is 90, `no` is false
and `2026-12-01` is a date. Here a number that two readers would read as two is refused, and words and dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from grok_sweeps.errors import SpecError

MAX_BYTES = 1 << 20
MOST_SHOWN = 40
"""Characters of a value that an error shows."""
_INT, _FLOAT, _BOOL, _DATE, _STR, _VALUE, _MERGE = (
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "timestamp", "str", "value", "merge")
)
_LARGEST_WHOLE_FLOAT = 2**53
"""Up to here every whole number is a float."""
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")


class _LenientLoader(yaml.SafeLoader):
    """YAML 1.1 as earlier versions read it, which specs in a store may rely on."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise SpecError(
                f"line {event.start_mark.line + 1}: YAML aliases (*{event.anchor}) are not allowed in a spec; "
                "write the values out."
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise SpecError(f"line {key_node.start_mark.line + 1}: key {key!r} is given twice; keep one.")
            seen.add(key)
        return super().construct_mapping(node, deep)


_LenientLoader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


class _PlainLoader(_LenientLoader):
    """Only `true` and `false` are booleans, dates, `=` and `<<` are text, and `1e3` is a whole number."""

    def construct_yaml_float(self, node: ScalarNode) -> float:
        value: float = super().construct_yaml_float(node)
        written_as_power = "e" in node.value.lower() and abs(value) <= _LARGEST_WHOLE_FLOAT
        return int(value) if written_as_power and value.is_integer() else value


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _DATE, _VALUE, _MERGE)]
    for first, resolvers in _LenientLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_PlainLoader.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]\.\d+$"), list("-+"))
_PlainLoader.add_constructor(_FLOAT, _PlainLoader.construct_yaml_float)


def read_yaml(
    text: str, source: str, fractions: Collection[str] = (), texts: Collection[str] = (), field: str = ""
) -> Any:
    """Parse YAML `text`; `source` names it in errors, and `field` the field whose value it is, if it is one.

    `fractions` are keys whose values may have decimals, `texts` those whose values may be text.

    Raises:
        SpecError: with line and column, for anything that is not plain YAML of modest size, or that reads two ways.
    """

    def construct(loader: yaml.SafeLoader) -> Any:
        node = loader.get_single_node()
        if node is None:
            return None
        _Refusals(loader, fractions, texts).check(node, field)
        return loader.construct_document(node)

    return _read(text, source, _PlainLoader, construct)


def read_stored_yaml(text: str, source: str) -> Any:
    """Parse YAML that an earlier version has accepted and stored, as that version did."""
    return _read(text, source, _LenientLoader, lambda loader: loader.get_single_data())


def _read(
    text: str, source: str, loader_class: type[yaml.SafeLoader], construct: Callable[[yaml.SafeLoader], Any]
) -> Any:
    if len(text) > MAX_BYTES:
        raise SpecError(f"{source}: {len(text):,} characters; a spec may have {MAX_BYTES:,} at most.")
    try:
        loader = loader_class(text)
        try:
            return construct(loader)
        finally:
            loader.dispose()
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None
    except RecursionError:
        raise SpecError(f"{source}: nested too deeply; a spec has three levels.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = str(error.problem or error.context)
        fix = "; indent with spaces, not with tabs" if r"'\t'" in problem else ""
        raise SpecError(f"{source}: {where}not valid YAML: {problem}{fix}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"{source}: not valid YAML: {' '.join(str(error).split())}.") from None


@dataclass(frozen=True)
class _Refusals:
    """Refuses plain numbers that YAML 1.1 and a person read differently, and what has no value at all."""

    loader: yaml.SafeLoader
    fractions: Collection[str]
    texts: Collection[str]

    def check(self, node: Node, path: str) -> None:
        """Look at all that is in a node; `path` is the field that it is the value of."""
        if isinstance(node, MappingNode):
            for key, value in node.value:
                name = str(key.value) if isinstance(key, ScalarNode) else "?"
                if isinstance(key, ScalarNode):
                    self._refuse_unreadable(key, path)
                self.check(value, f"{path}.{name}" if path else name)
        elif isinstance(node, SequenceNode):
            if node.flow_style and _key(path) in self.fractions:
                _refuse_decimal_commas(node, path)
            for index, value in enumerate(node.value):
                self.check(value, f"{path}[{index}]")
        elif isinstance(node, ScalarNode):
            if node.style is None and node.tag in (_INT, _FLOAT, _STR):
                self._refuse_number(node, path)
            self._refuse_unreadable(node, path)

    def _refuse_number(self, node: ScalarNode, path: str) -> None:
        written, where, as_text = node.value, _where(node, path), self._as_text(node, path)
        if node.tag != _STR and _BASE_60.fullmatch(written):
            value = yaml.safe_load(written)
            raise SpecError(f"{where}{written} is {value} in YAML (base 60); write {value}{as_text}.")
        if _LEADING_ZERO.fullmatch(written):
            decimal, octal = int(written.replace("_", "")), yaml.safe_load(written)
            if isinstance(octal, str):  # 08 and 09 are no octal numbers
                raise SpecError(f"{where}{written} has a leading zero; write {decimal}{as_text}.")
            if octal != decimal:
                raise SpecError(f"{where}{written} is octal in YAML, {octal}; write {decimal} or {octal}{as_text}.")

    def _refuse_unreadable(self, node: ScalarNode, path: str) -> None:
        """Refuse `0x_`, a whole number of thousands of digits, and a tag that does not fit."""
        try:
            self.loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):  # PyYAML's own for these
            kind = node.tag.rpartition(":")[2]
            fix = (
                f"write a number{self._as_text(node, path)}"
                if node.tag in (_INT, _FLOAT)
                else "write it without its tag"
            )
            raise SpecError(
                f"{_where(node, path)}{_short(node.value)} cannot be read as YAML's {kind}; {fix}."
            ) from None

    def _as_text(self, node: ScalarNode, path: str) -> str:
        """What to write where text was meant, if it can have been."""
        return f", or '{_short(node.value)}' for text" if _key(path) in self.texts else ""


def _key(path: str) -> str:
    return path.rpartition(".")[2]


def _where(node: Node, path: str) -> str:
    return f"line {node.start_mark.line + 1}: " + (f"{path}: " if path else "")


def _short(value: str) -> str:
    written = " ".join(value.split())
    return written if len(written) <= MOST_SHOWN else f"{written[:MOST_SHOWN]}..."


def _refuse_decimal_commas(node: SequenceNode, path: str) -> None:
    """Refuse `[1,05, 1,10]`, which YAML reads as 1, 5, 1, 10: `1,2,3` and `1, 2, 3` are lists beyond doubt."""
    neighbours = [(a, b) for a, b in pairwise(node.value) if a.end_mark.line == b.start_mark.line]
    joined = [(a, b) for a, b in neighbours if a.end_mark.index + 1 == b.start_mark.index]
    digits = [(a.value, b.value) for a, b in joined if _is_digits(a) and _is_digits(b)]
    padded = [(a, b) for a, b in digits if b[0] == "0" and len(b) > 1]
    if padded or (digits and len(joined) < len(neighbours)):
        whole, decimals = (padded or digits)[0]
        raise SpecError(
            f"line {node.start_mark.line + 1}: {path}: {whole},{decimals} is two values, {whole} and {decimals}; write "
            f"{whole}.{decimals} for a decimal, or a space after every comma."
        )


def _is_digits(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value.isdecimal()
