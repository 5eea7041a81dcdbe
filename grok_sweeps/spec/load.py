"""Find a spec (a file or a shipped preset), read it, and turn every fault into one clear line."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from reprlib import Repr
from typing import Any, TextIO

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from grok_sweeps.errors import SpecError, did_you_mean
from grok_sweeps.spec.model import AXES, FRACTIONS, NAME_PATTERN, TEXTS, Execution, Fork, SweepSpec
from grok_sweeps.spec.yaml import MAX_BYTES, read_stored_yaml, read_yaml

STANDARD_INPUT = "-"
"""Where a spec is read from, in the place of its path."""

_KEYS: dict[str, tuple[str, ...]] = {
    "": tuple(SweepSpec.model_fields),
    "runs": AXES,
    "blocks": AXES,
    "execution": tuple(Execution.model_fields),
    "fork": tuple(Fork.model_fields),
}
_MAPPING_EXAMPLES = {
    "runs": "runs: {p: 59}",
    "blocks": "blocks: [{tau: 1.3}]",
    "execution": "execution: {lanes: 2}",
    "fork": "fork: {of: control, at_step: 800}",
}

_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlong = 40
"""A value is quoted so far, and no further: a spec may hold a megabyte of it."""


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets, such as `paper/collapse`."""
    return tuple(sorted(name for name, _ in _presets()))


def load_spec(spec: str) -> tuple[SweepSpec, str]:
    """Read the spec named by `spec`, a path, a preset or `-`; return it with its text as submitted.

    Raises:
        SpecError: one line that names the file, the field, the value, what is allowed and the fix.
    """
    text, source = _find(spec)
    return parse_spec(text, source), text


def parse_spec(text: str, source: str = "spec") -> SweepSpec:
    """Validate the YAML `text` of a spec; `source` names it in errors."""
    return _validated(read_yaml(text, source, FRACTIONS, TEXTS), source)


def parse_stored_spec(text: str, source: str) -> SweepSpec:
    """Validate a spec that is in a store: what an earlier version accepted means what it meant then."""
    try:
        return parse_spec(text, source)
    except SpecError as refused:
        try:
            return _validated(read_stored_yaml(text, source), source)
        except SpecError:
            raise refused from None


def _validated(data: Any, source: str) -> SweepSpec:
    if isinstance(data, dict) and "name" not in data and source.endswith((".yaml", ".yml")):
        data = {"name": Path(source).stem, **data}
    try:
        return SweepSpec.model_validate(data)
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None
    except ValidationError as error:
        raise SpecError(f"{source}: {_one_line(error)}") from None


def with_execution(spec: SweepSpec, settings: Sequence[str]) -> SweepSpec:
    """`spec` with keys of `execution` set anew by `settings`, each `execution.KEY=VALUE`.

    Raises:
        SpecError: one line that names the setting and what is allowed.
    """
    values = spec.execution.model_dump(exclude_unset=True)
    for setting in settings:
        name, equals, value = setting.partition("=")
        section, _, key = name.strip().partition(".")
        if not equals or section != "execution" or not key:
            raise SpecError(f"--set: {_REPR.repr(setting)} is not `execution.KEY=VALUE`; e.g. execution.lanes=8.")
        field = f"execution.{key}" if key in Execution.model_fields else ""
        values[key] = read_yaml(value, "--set", texts=TEXTS, field=field)
    try:
        checked = SweepSpec.model_validate({"name": spec.name, "execution": values})
    except (SpecError, ValidationError) as error:
        raise SpecError(f"--set: {_one_line(error) if isinstance(error, ValidationError) else error}") from None
    return spec.model_copy(update={"execution": checked.execution})


def _find(spec: str) -> tuple[str, str]:
    if spec == STANDARD_INPUT:
        return _read(sys.stdin, "standard input"), "standard input"
    path = Path(spec)
    kind = _kind(path)
    if kind == "file":
        return _read(path, spec), path.name
    for name, preset in _presets():
        if name == spec:
            return preset.read_text(encoding="utf-8"), f"preset {name}"
    if kind == "folder" and spec:
        raise SpecError(f"{spec}: is a folder; give the path of a YAML file, e.g. {path / 'sweep.yaml'}.")
    names = preset_names()
    raise SpecError(
        f"no file and no preset {_REPR.repr(spec)}.{did_you_mean(spec, names)} Presets: {', '.join(names)}; or give a "
        f"path to a YAML file, or `{STANDARD_INPUT}` for standard input."
    )


def _read(file: Path | TextIO | None, name: str) -> str:
    """The text of a file, or of what stands in its place: a pipe may go on for ever."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        else:
            data = b"" if file is None else file.buffer.read(MAX_BYTES + 1)
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"{name}: cannot be read as UTF-8 text: {error}.") from None
    except OSError as error:
        raise SpecError(f"{name}: cannot be read: {error.strerror or error}.") from None
    if len(data) > MAX_BYTES:
        raise SpecError(f"{name}: more than {MAX_BYTES:,} bytes; a spec may have so many at most.")
    return text


def _kind(path: Path) -> str | None:
    """`file` (also a pipe), `folder`, or None where nothing is there."""
    try:
        return "folder" if path.is_dir() else "file" if path.exists() else None
    except (OSError, ValueError):  # a spec's text where its path is meant: too long for a name
        return None


def _presets() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def walk(folder: Any, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".yaml"):
                found.append((f"{prefix}{entry.name.removesuffix('.yaml')}", entry))

    walk(resources.files("grok_sweeps") / "presets", "")
    return found


def _one_line(error: ValidationError) -> str:
    faults = _own_faults(error.errors(include_url=False, include_context=True))
    # A key that is misspelt is also one that is missing; the misspelling says more.
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    more = len({_field_path(f) for f in faults}) - 1
    text = _describe(first, faults) + (f" (and {more} more field{'s' if more > 1 else ''} at fault)" if more else "")
    return " ".join(text.split())


def _own_faults(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the complaint that a list is too short because its items are at fault."""
    inner = {fault["loc"][:n] for fault in faults for n in range(len(fault["loc"]))}
    return [fault for fault in faults if not (fault["type"] == "too_short" and fault["loc"] in inner)]


def _field_path(fault: ErrorDetails) -> str:
    path = ""
    for part in fault["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not _is_union_branch(part):
            path += f".{part}" if path else str(part)
    return path


def _is_union_branch(part: str) -> bool:
    return "[" in part or "(" in part or part in ("int", "float", "str", "constrained-int", "constrained-float")


def _describe(fault: ErrorDetails, faults: list[ErrorDetails]) -> str:
    path = _field_path(fault)
    kind, value = fault["type"], "null (empty)" if fault.get("input") is None else _REPR.repr(fault["input"])
    key = str(fault["loc"][-1]) if fault["loc"] else ""
    parents = [str(part) for part in fault["loc"][:-1] if part in _KEYS]
    section = parents[-1] if parents else ""
    if kind == "extra_forbidden":
        allowed = _KEYS.get(section, _KEYS[""])
        noun = "axis" if section in ("runs", "blocks") else "key"
        return f"{path}: unknown {noun} '{key}'.{did_you_mean(key, allowed)} Allowed: {', '.join(allowed)}."
    if kind == "missing":
        return f"{path}: required; add it."
    if kind == "too_short":
        return f"{path}: empty axis; give at least one value, or leave the key out for its default."
    if kind == "invalid_key":
        return f"{path}: key {value} is not text; allowed: {', '.join(_KEYS.get(str(fault['loc'][0]), _KEYS['']))}."
    if kind == "string_pattern_mismatch" and path == "name":
        return f"name: {value} cannot name a sweep; allowed are letters, digits, '.', '_' and '-' ({NAME_PATTERN})."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        last = path.rsplit(".", 1)[-1].split("[")[0]
        return f"{path}: is {value}; write a mapping such as `{_MAPPING_EXAMPLES[last]}`."
    if kind in ("tuple_type", "list_type"):
        return f"{path}: is {value}; write a list."
    same = [f for f in faults if _field_path(f) == path]
    allowed_text = "; or ".join(dict.fromkeys(_requirement(f) for f in same))
    return f"{path}: {value} is not allowed; {allowed_text}{_number_hint(fault.get('input'))}."


def _number_hint(value: Any) -> str:
    """How to write a number with a decimal comma, `1,05`; empty for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,20},\d{1,20}", value):
        return f"; write {value.replace(',', '.')} with a decimal point, or [{value.replace(',', ', ')}] for two values"
    return ""


def _requirement(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "greater_than":
            return f"it must be greater than {context['gt']:g}"
        case "greater_than_equal":
            return f"it must be at least {context['ge']:g}"
        case "less_than":
            return f"it must be less than {context['lt']:g}"
        case "less_than_equal":
            return f"it must be at most {context['le']:g}"
        case "literal_error":
            return f"it must be {context['expected']}"
        case "int_type" | "int_from_float" | "int_parsing":
            return "it must be a whole number"
        case "float_type" | "float_parsing" | "finite_number":
            return "it must be a finite number"
        case "bool_type" | "bool_parsing":
            return "it must be true or false"
        case "string_type":
            return "it must be text"
        case "value_error":
            return str(context.get("error", fault["msg"]))
        case _:
            return fault["msg"].lower()
