"""Each of our runs beside the released one that started from the same numbers: the tables of this folder's README.

    python -m tests.fidelity.twins --released p59_runs.csv [--released FILE …] [--store URI]

Our runs are those that are kept with the project (`full/runs.parquet`), or a store's. A file of released runs has one
row a seed, of any moduli, with the columns of `analysis.released.REQUIRED`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from grok_sweeps.analysis.released import paired, read_released
from grok_sweeps.results import open_store
from tests.fidelity import full

README = Path(__file__).with_name("README.md")
MARKS = "<!-- twins -->\n", "<!-- /twins -->"
READING = 25
SHORT = 6_000
"""Released grokking steps up to which equality is asked."""
NEAR = 0.005
"""Beyond, the difference that is allowed."""
COLUMNS = ("runs", "equal", "one reading off", "within 0.5 %", "further apart", "memorised at the same step")


def judged(runs: pd.DataFrame, released: pd.DataFrame) -> pd.DataFrame:
    """Pairs with `off`, the difference in steps (infinite where one of the two did not grok), and `how` near it is."""
    pairs = paired(runs, released)
    both = (pairs.grokked_step > 0) == (pairs.grokked_step_theirs > 0)
    pairs["off"] = (pairs.grokked_step - pairs.grokked_step_theirs).where(both, float("inf"))
    far = pairs.off.abs()
    pairs["how"] = "further apart"
    pairs.loc[far <= NEAR * pairs.grokked_step_theirs, "how"] = "within 0.5 %"
    pairs.loc[far == READING, "how"] = "one reading off"
    pairs.loc[far == 0, "how"] = "equal"
    return pairs


def by_experiment(pairs: pd.DataFrame) -> str:
    """A row an experiment and modulus, in Markdown."""
    lines = [f"| experiment | p | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for (experiment, p), cell in pairs.groupby(["experiment", "p"]):
        lines.append(f"| {experiment} | {p:g} | {' | '.join(_counts(cell))} |")
    return "\n".join([*lines, f"| **all** | | {' | '.join(_counts(pairs))} |"])


def _counts(pairs: pd.DataFrame) -> list[str]:
    memorised = int((pairs.memorized_step == pairs.memorized_step_theirs).sum())
    return [str(n) for n in (len(pairs), *(int((pairs.how == how).sum()) for how in COLUMNS[1:5]), memorised)]


def exceptions(pairs: pd.DataFrame) -> Iterator[str]:
    """A line for each run that is not as near as asked, with the most that its softmax collapsed."""
    is_short = pairs.grokked_step_theirs.between(1, SHORT)
    missed = pairs[(is_short & (pairs.how != "equal")) | (pairs.how == "further apart")]
    for run in missed.itertuples():
        steps = [f"{step:,.0f}" if step > 0 else "not reached" for step in (run.grokked_step, run.grokked_step_theirs)]
        named = (("ρ", run.rho), ("τ", run.tau), ("γ", run.gamma), ("λ", run.weight_decay))
        cell = ", ".join(f"{name} {value:g}" for name, value in named if value != -1.0)
        why = f"softmax collapse up to {run.softmax_collapse_max:.2f}" if run.softmax_collapse_max else "no collapse"
        yield (
            f"- {run.experiment}, p {run.p:g}, {run.arm}, {cell}, seed {run.seed:g}: {steps[0]}, released {steps[1]}; "
            f"{why}"
        )


def target(pairs: pd.DataFrame) -> str:
    """How many runs that were to be equal are."""
    short = pairs[pairs.grokked_step_theirs.between(1, SHORT)]
    rest, equal = pairs.drop(short.index), int((short.how == "equal").sum())
    near = int(short.how.isin(["equal", "one reading off"]).sum())
    return (
        f"{equal} of {len(short)} runs that grok by step {SHORT:,} are equal to the step, {near} within one reading. "
        f"Of {len(rest)} others {int((rest.how != COLUMNS[4]).sum())} are within 0.5 %."
    )


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=Path, action="append", required=True)
    parser.add_argument("--store", help="default: the runs that are kept with the project")
    given = parser.parse_args()
    rows = full.finished_runs(open_store(given.store)) if given.store else pq.read_table(full.RUNS)
    pairs = judged(rows.to_pandas(), read_released(given.released))
    missed = "\n".join(exceptions(pairs)) or "No run is further apart than that."
    text = f"{target(pairs)}\n\n{by_experiment(pairs)}\n\n{missed}"
    print(text)
    begin, end = (re.escape(mark) for mark in MARKS)
    page = re.sub(f"{begin}.*?{end}", lambda _: f"{MARKS[0]}{text}\n{MARKS[1]}", README.read_text(), flags=re.DOTALL)
    README.write_text(page)


if __name__ == "__main__":
    main()
