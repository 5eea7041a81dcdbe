"""The paper's runs that were trained here, kept with the project: one row a run, and its readings at logged steps.

    python -m tests.fidelity.full save --store URI       # writes full/runs.parquet and full/curves.parquet
    python -m tests.fidelity.full restore --store URI    # fills a store with them, so that what is left is trained

The runs are those of the presets `paper/*`, from whatever sweeps of the store they are in. Readings are kept at the
steps that the paper logs, in float32, in which they were taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from grok_sweeps.plan import make_plan
from grok_sweeps.results import Store, open_store
from grok_sweeps.schema import CURVES_SCHEMA, READING_NAMES, RUN_COLUMNS, RUNS_SCHEMA
from grok_sweeps.spec import load_spec, preset_names
from grok_sweeps.store import SweepStore
from grok_sweeps.store.tables import encode_table

FOLDER = Path(__file__).parent / "full"
RUNS, CURVES = FOLDER / "runs.parquet", FOLDER / "curves.parquet"
LOGGED_EVERY = {"ce": 200, "mse": 25}
"""The paper's logged steps, by loss; step 1 too."""
CONTROLLED = "-control"
"""Presets that resolve a norm of their own, which is not the released one."""


def presets() -> list[str]:
    """The presets whose cells the paper has."""
    names = [name for name in preset_names() if name.startswith("paper/") and name != "paper/all"]
    return [name for name in names if not name.endswith(CONTROLLED)]


def finished_runs(store: Store) -> pa.Table:
    """One row a run of the presets that has not failed, whatever sweep of the store it is in."""
    ids = sorted(make_plan(load_spec("paper/all")[0]).run_ids())
    columns = ", ".join(column.name for column in RUN_COLUMNS)
    query = f"""SELECT {columns} FROM runs WHERE outcome <> 'failed' AND run_id IN (SELECT unnest($ids))
        QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY finished_at, sweep) = 1 ORDER BY sweep, cell_id, seed"""
    return store.arrow(query, {"ids": ids})


def logged_curves(store: Store, runs: pa.Table) -> pa.Table:
    """The readings of the runs at the paper's logged steps."""
    kept = runs.select(["run_id", "attempt", "loss"]).to_pandas().set_index("run_id")
    found = [CURVES_SCHEMA.empty_table().to_pandas()]
    for loss, cells in kept.groupby("loss"):
        curves = store.curves(run_ids=cells.index.tolist())
        curves = curves[(curves.step == 1) | (curves.step % LOGGED_EVERY[loss] == 0)]
        found.append(curves[curves.attempt == cells.attempt.loc[curves.run_id].to_numpy()])
    logged = pd.concat(found, ignore_index=True).sort_values(["sweep", "run_id", "step"])
    readings = {name: logged[name].astype("float32") for name in READING_NAMES}
    return pa.Table.from_pandas(logged.assign(**readings).drop(columns=["sweep"]), preserve_index=False)


def seed_means(curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean readings of each cell at each logged step, over the `n_seeds` seeds that have one there."""
    joined = curves.merge(runs[["run_id", "cell_id"]], on="run_id")
    by_step = joined.groupby(["cell_id", "step"])
    return by_step[list(READING_NAMES)].mean().assign(n_seeds=by_step.size()).reset_index()


def save(stores: Sequence[Store]) -> None:
    """Write both files, each run from the first store that has it."""
    runs, curves = [RUNS_SCHEMA.empty_table()], list[pa.Table]()
    for store in stores:
        found = finished_runs(store)
        new = pc.invert(pc.is_in(found["run_id"], value_set=pa.concat_tables(runs)["run_id"]))
        runs.append(found.filter(new).cast(RUNS_SCHEMA))
        curves.append(logged_curves(store, runs[-1]))
    FOLDER.mkdir(exist_ok=True)
    every = pa.concat_tables(runs).sort_by([("cell_id", "ascending"), ("seed", "ascending")])
    pq.write_table(every, RUNS, compression="zstd")
    pq.write_table(pa.concat_tables(curves), CURVES, compression="zstd", use_byte_stream_split=list(READING_NAMES))
    print(f"{len(every):,} runs: {RUNS}, {CURVES}")


def restore(store: Store) -> None:
    """Make the presets' sweeps, each with the rows and readings that are kept of it."""
    rows, curves = pq.read_table(RUNS).to_pandas(), pq.read_table(CURVES).to_pandas()
    for preset in presets():
        spec, text = load_spec(preset)
        plan, sweep = make_plan(spec), SweepStore(store.objects, spec.name)
        sweep.create(text, plan)
        is_own = rows.run_id.isin(plan.run_ids())
        own, rows = rows[is_own].assign(sweep=spec.name), rows[~is_own]
        readings = curves[curves.run_id.isin(own.run_id)].assign(sweep=spec.name)
        folders = sweep.layout.curves, sweep.layout.rows
        for folder, kept, schema in zip(folders, (readings, own), (CURVES_SCHEMA, RUNS_SCHEMA), strict=True):
            table = pa.Table.from_pandas(kept, preserve_index=False).select(schema.names).cast(schema)
            store.objects.put(f"{folder}/restored.parquet", encode_table(table))  # a name that tells of no attempt
        print(f"{spec.name}: {len(own):,} of {len(plan.runs):,} runs have their row")


def main() -> None:
    """Save or restore."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["save", "restore"])
    parser.add_argument("--store", action="append", required=True, help="of several, the first counts first")
    given = parser.parse_args()
    stores = [open_store(uri) for uri in given.store]
    if given.what == "save":
        save(stores)
    else:
        restore(stores[0])


if __name__ == "__main__":
    main()
