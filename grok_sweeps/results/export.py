"""A table of a store as one file: there whole or not at all, and never over another unless that is asked for."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa

from grok_sweeps.errors import ExportError
from grok_sweeps.results.formats import BATCH_ROWS, write_batches
from grok_sweeps.results.store import ORDER, Store
from grok_sweeps.schema import VIEWS, Column


def export(store: Store, sweep: str | None, table: str, form: str, path: Path, *, force: bool = False) -> int:
    """Write `runs`, `cells` or `curves` of one sweep or of all to a file; return the number of rows.

    Runs and cells are sorted. Curves stream file by file, the readings of a run together and in order of their steps.

    Raises:
        ExportError: the file is there, or cannot be written; what was there still is.
        QueryError: no such sweep.
    """
    names = ", ".join(column.name for column in VIEWS[table])
    order = "" if table == "curves" else f" ORDER BY {ORDER[table]}"

    def write(answer: duckdb.DuckDBPyRelation) -> int:
        reader = answer.to_arrow_reader(BATCH_ROWS)
        schema = _described(reader.schema, VIEWS[table])
        with new_file(path, force=force) as sink:
            return write_batches(form, sink, schema, (batch.cast(schema) for batch in reader))

    return store.snapshot(sweep).read(f"SELECT {names} FROM {table}{order}", (), write)


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that gets its name once it is written; nothing is left of one that is not.

    Raises:
        ExportError: the name is taken, or the file cannot be written.
    """
    if path.is_dir():
        raise ExportError(f"{path}: is a directory; name a file.")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if path.exists() and not force:
            raise FileExistsError
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    except FileExistsError:
        raise ExportError(f"{path}: is there already; name another file, or overwrite it with --force.") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _described(schema: pa.Schema, columns: tuple[Column, ...]) -> pa.Schema:
    """With unit, meaning and null rule of each column in its metadata."""
    told = {c.name: {"unit": c.unit, "meaning": c.meaning, "null": c.null} for c in columns}
    return pa.schema([field.with_metadata({k: v for k, v in told[field.name].items() if v}) for field in schema])
