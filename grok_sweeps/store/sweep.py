"""One sweep in the store: spec, plan, calibration, packs, rows and status.

What is written once (spec, plan, calibration) is created, never overwritten; the loser of a race reads what the winner
wrote. What is rewritten (`status.json`, `job.json`, `stop.json`, a driver's log) is of the driver at work; no run
depends on it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from grok_sweeps.config import CONFIG_COLUMNS, run_config_from_dict
from grok_sweeps.errors import CorruptObjectError, NewerSchemaError, SweepConflictError, UnreadableObjectWarning
from grok_sweeps.plan.plan import Plan, PlannedRun
from grok_sweeps.schema import CONFIG, Column, arrow_schema
from grok_sweeps.store.documents import decode_document, encode_document
from grok_sweeps.store.layout import Layout
from grok_sweeps.store.objects import ObjectStore
from grok_sweeps.store.tables import decode_table, encode_table

if TYPE_CHECKING:
    from grok_sweeps.spec import SweepSpec

PLAN_SCHEMA = arrow_schema(
    (
        Column("run_id", pa.string(), "", "hash of everything that decides the run's numbers"),
        Column("cell_id", pa.string(), "", "the same hash without the seed"),
        Column("stage", pa.int64(), "", "stage in which the run can start"),
        Column("added", pa.bool_(), "", "control or parent that the plan added by itself"),
        Column("origin", pa.string(), "", "stored run, SWEEP/RUN_ID, that a parent repeats", "none"),
        *CONFIG,
        Column("w_c", pa.float64(), "norm", "pinned w_c", "not pinned"),
    )
)

_NEW_PLAN = "Delete it and run the spec again: the plan is made of it."

ROWS_AT_ONCE = 5_000
"""Rows that are values by name at a time, which take ten times the memory of what is made of them."""


class SweepStore:
    """The objects of one sweep."""

    def __init__(self, objects: ObjectStore, sweep: str) -> None:
        self.objects = objects
        self.sweep = sweep
        self.layout = Layout(sweep)

    def exists(self) -> bool:
        """Whether a spec of this name was ever submitted."""
        return self.objects.get(self.layout.spec) is not None

    def check_same(self, plan: Plan) -> bool:
        """Refuse a plan of other runs than the stored sweep's; return whether there is one.

        Raises:
            SweepConflictError: the name is taken by other runs.
        """
        data = self.objects.get(self.layout.plan)
        if data is None:
            return False
        wanted, stored = plan.run_ids(), _run_ids(data, self.layout.plan)
        if stored == wanted:
            return True
        added, gone = len(wanted - stored), len(stored - wanted)
        raise SweepConflictError(
            f"name: sweep '{self.sweep}' is already in {self.objects.uri} with other runs ({added} of this spec's runs "
            f"are new, {gone} of its own are missing here). A sweep's runs do not change: give this spec another name, "
            "or restore the old spec."
        )

    def create(self, spec_text: str, plan: Plan) -> None:
        """Write spec and plan once; a second call with the same runs writes nothing."""
        if self.check_same(plan) and self.exists():
            return
        self.objects.create(self.layout.plan, encode_plan(plan))
        self.objects.create(self.layout.spec, spec_text.encode())
        self.check_same(plan)

    def load_spec(self) -> SweepSpec | None:
        """The spec as submitted, or None where the store has no such sweep."""
        from grok_sweeps.spec import parse_stored_spec  # noqa: PLC0415 workers never read a spec, and do without its parser

        text = self.load_spec_text()
        return None if text is None else parse_stored_spec(text, f"{self.sweep}.yaml")

    def load_spec_text(self) -> str | None:
        """The text of the spec as submitted, or None where the store has no such sweep.

        Raises:
            CorruptObjectError: it is no text.
        """
        data = self.objects.get(self.layout.spec)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError as error:
            raise CorruptObjectError(
                f"{self.layout.spec}: damaged, not UTF-8 text. Delete it and run the spec again: it is written again."
            ) from error

    def load_plan(self) -> Plan | None:
        """The stored plan, or None."""
        data = self.objects.get(self.layout.plan)
        with _mended_by(_NEW_PLAN):
            return None if data is None else decode_plan(data, self.layout.plan, self.sweep)

    def load_calibration(self) -> dict[str, Any]:
        """Resolved controls by `control_id`; empty before they are resolved."""
        data = self.objects.get(self.layout.calibration)
        with _mended_by("Delete it: it is made again from the control's rows."):
            return {} if data is None else dict(decode_document(data, self.layout.calibration)["controls"])

    def create_calibration(self, controls: Mapping[str, Any]) -> dict[str, Any]:
        """Write the resolved controls once; return what the store now holds."""
        self.objects.create(self.layout.calibration, encode_document({"controls": dict(controls)}))
        return self.load_calibration()

    def put_pack(self, pack_id: str, content: Mapping[str, Any]) -> None:
        """Write what a worker needs to train a pack."""
        self.objects.put(self.layout.pack(pack_id), encode_document(content, indent=None))

    def load_pack(self, pack_id: str) -> dict[str, Any]:
        """Read a pack's content.

        Raises:
            CorruptObjectError: it is missing or unreadable.
        """
        name = self.layout.pack(pack_id)
        data = self.objects.get(name)
        if data is None:
            raise CorruptObjectError(f"{name}: missing; run the sweep again to write it.")
        return decode_document(data, name)

    def put_status(self, status: Mapping[str, Any]) -> None:
        """Write the driver's heartbeat."""
        self.objects.put(self.layout.status, encode_document(status))

    def load_status(self) -> dict[str, Any] | None:
        """The driver's last heartbeat; None where there is none or it cannot be read, which is told."""
        return self._load_passing(self.layout.status)

    def put_job(self, job: Mapping[str, Any]) -> None:
        """Write which Ray job drives the sweep."""
        self.objects.put(self.layout.job, encode_document(job))

    def load_job(self) -> dict[str, Any] | None:
        """The last Ray job that was to drive the sweep; None where there was none or it cannot be read."""
        return self._load_passing(self.layout.job)

    def ask_to_stop(self, driver: str, reason: str) -> None:
        """Ask a driver to stop; it looks every few seconds. One of another id goes on."""
        self.objects.put(self.layout.stop, encode_document({"driver": driver, "reason": reason}))

    def asked_to_stop(self, driver: str) -> str | None:
        """Why this driver was asked to stop; None where it was not."""
        asked = self._load_passing(self.layout.stop)
        return str(asked["reason"]) if asked is not None and asked["driver"] == driver else None

    def put_log(self, driver: str, text: str) -> None:
        """Write what a driver has said so far."""
        self.objects.put(self.layout.log(driver), text.encode())

    def load_log(self) -> str | None:
        """What the newest driver has said; None where none has said anything yet."""
        names = [info.name for info in self.objects.list(self.layout.logs)]  # their names begin with a time
        data = self.objects.get(names[-1]) if names else None
        return None if data is None else data.decode(errors="replace")

    def _load_passing(self, name: str) -> dict[str, Any] | None:
        """A document that is rewritten; None where there is none or it cannot be read, which is told."""
        data = self.objects.get(name)
        try:
            return None if data is None else decode_document(data, name)
        except CorruptObjectError as error:
            warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=3)
            return None


def encode_plan(plan: Plan) -> bytes:
    """Parquet bytes of a plan, one row a run."""
    metadata = {**PLAN_SCHEMA.metadata, b"controls": json.dumps(plan.controls).encode()}
    # Column by column: 100,000 runs as rows of values by name take 400 MB for a moment.
    columns = {
        "run_id": [run.run_id for run in plan.runs],
        "cell_id": [run.cell_id for run in plan.runs],
        "stage": [run.stage for run in plan.runs],
        "added": [run.added for run in plan.runs],
        "origin": [run.origin or None for run in plan.runs],
        **dict(zip(CONFIG_COLUMNS, zip(*(run.config.values() for run in plan.runs), strict=True), strict=True)),
    }
    return encode_table(pa.Table.from_pydict(columns, schema=PLAN_SCHEMA.with_metadata(metadata)))


def decode_plan(data: bytes, name: str, sweep: str) -> Plan:
    """Read a plan back; the inverse of `encode_plan`."""
    table = decode_table(data, name)
    controls = json.loads((table.schema.metadata or {}).get(b"controls", b"{}"))
    runs = tuple(
        PlannedRun(
            row["run_id"],
            row["cell_id"],
            row["stage"],
            row["added"],
            run_config_from_dict(row),
            row.get("origin") or "",
        )
        for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE)
        for row in batch.to_pylist()
    )
    return Plan(sweep, runs, {k: tuple(v) for k, v in controls.items()})


def _run_ids(data: bytes, name: str) -> frozenset[str]:
    """The run ids of a stored plan."""
    with _mended_by(_NEW_PLAN):
        return frozenset(decode_table(data, name, {"run_id"})["run_id"].to_pylist())


@contextmanager
def _mended_by(fix: str) -> Iterator[None]:
    """Say what mends a damaged object; one of a newer version is not damaged."""
    try:
        yield
    except NewerSchemaError:
        raise
    except CorruptObjectError as error:
        raise CorruptObjectError(f"{error} {fix}") from error
