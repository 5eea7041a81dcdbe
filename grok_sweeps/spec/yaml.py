"""A YAML reader for files that strangers may send.

On top of PyYAML's safe loader: no aliases (a few hundred bytes of them can stand for gigabytes), no duplicate keys
(the last would win in silence), a size limit, and `1e-3` is a number as every researcher expects.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node

from grok_sweeps.errors import SpecError

MAX_BYTES = 1 << 20


class _SpecLoader(yaml.SafeLoader):
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


_SpecLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(text: str, source: str) -> Any:
    """Parse YAML `text`; `source` names it in errors.

    Raises:
        SpecError: with line and column, for anything that is not plain YAML of modest size.
    """
    if len(text) > MAX_BYTES:
        raise SpecError(f"{source}: {len(text):,} characters; a spec may have {MAX_BYTES:,} at most.")
    try:
        return yaml.load(text, Loader=_SpecLoader)  # noqa: S506 (a SafeLoader)
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None
    except RecursionError:
        raise SpecError(f"{source}: nested too deeply; a spec has three levels.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError(f"{source}: {where}not valid YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"{source}: not valid YAML: {' '.join(str(error).split())}.") from None
