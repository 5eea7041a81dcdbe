"""JSON objects of the store: schema version and seal inside, so that a damaged number is never believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grok_sweeps.errors import CorruptObjectError, NewerSchemaError
from grok_sweeps.schema import SCHEMA_VERSION
from grok_sweeps.store.seal import KEY, OPEN, is_sealed, seal


def encode_document(content: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """JSON bytes of `content`; without `indent` they are for no human eye and made four times as fast."""
    document = {**content, "schema": SCHEMA_VERSION, KEY: OPEN}
    return seal(json.dumps(document, indent=indent, sort_keys=True, allow_nan=False).encode())


def decode_document(data: bytes, name: str) -> dict[str, Any]:
    """Read a document back.

    Raises:
        CorruptObjectError: torn, damaged, foreign, or written by a newer schema.
    """
    is_sealed(data, name)
    try:
        document = json.loads(data)
    except ValueError as error:
        raise CorruptObjectError(f"{name}: not valid JSON: {error}.") from error
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise CorruptObjectError(f"{name}: not written by grok-sweeps.")
    if document["schema"] > SCHEMA_VERSION:
        raise NewerSchemaError(name, document["schema"], SCHEMA_VERSION)
    document.pop(KEY, None)
    return document
