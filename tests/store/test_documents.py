"""JSON of the store: a flipped bit never changes a number, and a newer version is named."""

from __future__ import annotations

import json
import pickle

import pytest

from grok_sweeps.errors import CorruptObjectError, NewerSchemaError
from grok_sweeps.store.documents import decode_document, encode_document

CONTENT = {"controls": {"c": {"w_c": 19.30900222322967, "run_ids": ["a", "b"]}}, "name": "ρ"}


def test_a_document_comes_back_with_its_schema() -> None:
    for indent in (1, None):
        assert decode_document(encode_document(CONTENT, indent), "x.json") == {**CONTENT, "schema": 1}


def test_no_flipped_bit_anywhere_changes_what_it_says() -> None:
    data = encode_document(CONTENT)
    for position in range(len(data)):
        for bit in range(8):
            flipped = data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
            try:
                found = decode_document(flipped, "x.json")
            except CorruptObjectError:
                continue
            assert {key: found[key] for key in CONTENT} == CONTENT, position


def test_a_document_from_before_the_seal_is_read() -> None:
    assert decode_document(json.dumps({**CONTENT, "schema": 1}).encode(), "x.json") == {**CONTENT, "schema": 1}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (encode_document(CONTENT)[:50], "not valid JSON"),
        (encode_document(CONTENT)[:-1], "damaged"),
        (b"[1]", "not written by grok-sweeps"),
        (b"{}", "not written by grok-sweeps"),
        (b'{"schema": 2}', "written with schema 2, this version reads up to 1; upgrade grok-sweeps"),
        (encode_document(CONTENT).replace(b"19.3", b"18.3"), "damaged; it does not match its checksum"),
    ],
)
def test_what_is_not_a_whole_document_is_refused_with_its_name(data: bytes, words: str) -> None:
    with pytest.raises(CorruptObjectError, match=r"^x\.json: ") as caught:
        decode_document(data, "x.json")
    assert words in str(caught.value)


def test_an_error_about_a_newer_object_comes_whole_from_another_process() -> None:
    error = NewerSchemaError("s/plan.parquet", 9, 1)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is NewerSchemaError
    assert str(again) == str(error)
    assert str(error).startswith("s/plan.parquet: written with schema 9, this version reads up to 1")
