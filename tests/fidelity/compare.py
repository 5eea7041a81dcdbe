"""Compare finished fidelity sweeps with the paper's runs and write the tables of this folder's README.

    python -m tests.fidelity.compare --store ./fidelity --reference p59_runs.csv --out tests/fidelity

Our rows go to `measured/<sweep>.csv`. Of the paper's runs only medians, counts and differences are written.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import grok_sweeps as gs
from tests.fidelity.cells import (
    KEYS,
    SHORT,
    difference,
    matched,
    our_runs,
    paired_ratio,
    reference_runs,
    two_samples,
    within_target,
)

COLUMNS = [
    "run_id",
    "p", "arch", "loss", "arm", "rho", "tau", "gamma", "dtype", "fork_step", "stop", "seed", "outcome",
    "memorized_step", "grokked_step", "steps_run", "logit_scale_at_grok", "weight_norm_at_grok", "softmax_collapse_max",
    "fork_norm", "final_state_sha256", "torch", "device", "git_sha",
]  # fmt: skip

SEEDED = {
    "fidelity-mediation-ce": ("mediation", "ce"),
    "fidelity-mediation-mse": ("mediation", "mse"),
    "fidelity-allocation": ("alloc", None),
    "fidelity-same-state": ("samestate", None),
}


def markdown(rows: list[dict[str, object]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[name]) for name in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def steps(value: float) -> str:
    """A number of steps, or what stands for none."""
    return "not reached" if np.isinf(value) else f"{value:,.0f}"


def cell_name(key: tuple[object, ...]) -> str:
    """The cell in words."""
    values = dict(zip(KEYS, key, strict=True))
    parts = [str(values["arm"])]
    parts += [f"{s} {values[n]:g}" for n, s in (("gamma", "γ"), ("rho", "ρ"), ("tau", "τ")) if pd.notna(values[n])]
    return ", ".join(parts)


def seeded_table(pairs: pd.DataFrame) -> tuple[str, str]:
    """The table of cells that are compared seed by seed, and the sentence about the targets above it."""
    rows: list[dict[str, object]] = []
    for key, cell in pairs.groupby(KEYS, dropna=False):
        off = difference(cell)
        finite = off[np.isfinite(off)]
        share = (finite.abs() / cell.theirs[finite.index]).fillna(0)
        rows.append(
            {
                "cell": cell_name(key),
                "runs": len(cell),
                "grokked at the same step": f"{int((off == 0).sum())}",
                "memorised at the same step": f"{int((cell.ours_memorized == cell.theirs_memorized).sum())}",
                "largest difference": f"{finite.abs().max():,.0f} steps ({100 * share.max():.2f} %)",
                "median, ours": steps(float(cell.ours.median())),
                "median, paper": steps(float(cell.theirs.median())),
            }
        )
    ok = within_target(pairs)
    short = pairs.theirs <= SHORT
    lines = [
        f"{int(ok[short].sum())} of {int(short.sum())} runs that grok by step {SHORT:,} and "
        f"{int(ok[~short].sum())} of {int((~short).sum())} longer or censored ones are within the target; "
        f"{int((difference(pairs) == 0).sum())} of {len(pairs)} are equal to the step."
    ]
    for index in pairs.index[~ok]:
        run = pairs.loc[index]
        off = difference(pairs.loc[[index]]).iloc[0]
        what = f"{off:+,.0f} steps" if np.isfinite(off) else "one of the two did not grok"
        lines.append(f"- {cell_name(tuple(run[k] for k in KEYS))}, seed {run.seed}: {what}")
    return markdown(rows), "\n".join(lines)


def same_state_summary(runs: pd.DataFrame) -> str:
    """Delays from the fork, the ratio of raised to same, and how often the order holds."""
    ours = our_runs(runs)
    ours["delay_from_fork"] = ours.ours - ours.fork_step
    ours["rho"] = ours.rho.astype(float).round(4)
    arms = {"lowered": 0.8696, "free": None, "same": 1.0, "raised": 1.15}
    by_arm = {
        name: ours[ours.rho.isna() if rho is None else ours.rho == rho].set_index("seed").delay_from_fork.sort_index()
        for name, rho in arms.items()
    }
    seeds = sorted(set.intersection(*(set(delays.index) for delays in by_arm.values())))
    if not seeds:
        return "The arms are not finished."
    values = {name: delays.loc[seeds].to_numpy() for name, delays in by_arm.items()}
    ratio, low, high = paired_ratio(values["raised"], values["same"])
    ordered = np.sum(
        (values["lowered"] < values["free"]) & (values["free"] < values["same"]) & (values["same"] < values["raised"])
    )
    medians = ", ".join(f"{name} {steps(float(np.median(v)))}" for name, v in values.items())
    return (
        f"Median delay from the fork over {len(seeds)} seeds: {medians}. Raised over same: {ratio:.2f} [{low:.2f}, "
        f"{high:.2f}] (paired bootstrap over seeds, 4,000 resamples, seed 0; the paper: 3.36 [3.27, 3.43]). Lowered < "
        f"free < same < raised in {ordered} of {len(seeds)} seeds."
    )


def unseeded_table(groups: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """The table of cells that can only be compared in distribution."""
    rows: list[dict[str, object]] = []
    for name, ours, theirs in groups:
        test, median = two_samples(ours, theirs), float(np.median(ours))
        rows.append(
            {
                "cell": name,
                "runs, ours / paper": f"{test.n_ours} / {test.n_theirs}",
                "median, ours": steps(median),
                "range, ours": f"{steps(ours.min())} to {steps(ours.max())}",
                "median, paper": steps(float(np.median(theirs))),
                "ours within the paper's range": "yes" if theirs.min() <= median <= theirs.max() else "no",
                "Mann–Whitney U": f"{test.mann_whitney_u:g} (p = {test.mann_whitney_p:.2f})",
                "Kolmogorov–Smirnov D": f"{test.kolmogorov_smirnov_d:.2f} (p = {test.kolmogorov_smirnov_p:.2f})",
            }
        )
    return markdown(rows)


def transformer_section(runs: pd.DataFrame, reference: str) -> str:
    """Our transformer cells beside the paper's."""
    theirs = reference_runs(reference, "transformer")
    groups = []
    for (rho, tau), cell in our_runs(runs).groupby(["rho", "tau"]):
        same = theirs[(theirs.arm == "clamp") & (theirs.rho == rho) & (theirs.tau == tau)]
        groups.append((f"ρ {rho:g}, τ {tau:g}", cell.ours.to_numpy(), same.theirs.to_numpy()))
    return unseeded_table(groups)


def float64_section(runs: pd.DataFrame, reference: str) -> str:
    """Both precisions at the two highest doses, and float32 beside the paper's dose cells."""
    ours = our_runs(runs)
    rows: list[dict[str, object]] = []
    for (rho, dtype), cell in ours.groupby(["rho", "dtype"]):
        collapse = cell.softmax_collapse_max
        rows.append(
            {
                "ρ": f"{rho:g}",
                "dtype": dtype,
                "runs": len(cell),
                "grokked": int(np.isfinite(cell.ours).sum()),
                "grokking steps": ", ".join(steps(v) for v in sorted(cell.ours)),
                "largest collapse rate a run": ", ".join(f"{v:.3f}" for v in sorted(collapse)),
                "steps run": ", ".join(f"{v:,}" for v in sorted(cell.steps_run)),
            }
        )
    theirs = reference_runs(reference, "dose")
    groups = [
        (f"ρ {rho:g}, float32", cell.ours.to_numpy(), theirs[theirs.rho == rho].theirs.to_numpy())
        for rho, cell in ours[ours.dtype == "float32"].groupby("rho")
    ]
    return f"{markdown(rows)}\n\n{unseeded_table(groups)}"


def section(sweep: str, runs: pd.DataFrame, reference: str) -> str:
    """Everything measured of one sweep."""
    if sweep in SEEDED:
        experiment, loss = SEEDED[sweep]
        pairs = matched(runs, reference_runs(reference, experiment, loss))
        if pairs.empty:
            return "No run has finished yet."
        table, verdict = seeded_table(pairs)
        text = f"{verdict}\n\n{table}"
        return f"{text}\n\n{same_state_summary(runs)}" if sweep == "fidelity-same-state" else text
    return UNSEEDED[sweep](runs, reference)


UNSEEDED: dict[str, Callable[[pd.DataFrame, str], str]] = {
    "fidelity-transformer": transformer_section,
    "fidelity-float64": float64_section,
}


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    store = gs.open_store(options.store)
    sections = []
    for sweep in (*SEEDED, *UNSEEDED):
        if sweep not in store.sweep_names():
            continue
        runs = store.runs(sweep)
        if runs.empty:
            continue
        folder = options.out / "measured"
        folder.mkdir(parents=True, exist_ok=True)
        ordered = runs.sort_values(["arm", "gamma", "rho", "tau", "dtype", "seed"])
        ordered[COLUMNS].to_csv(folder / f"{sweep}.csv", index=False)
        sections.append(f"### {sweep}\n\n{section(sweep, runs, options.reference)}")
    page = options.out / "README.md"
    text = "<!-- measured -->\n" + "\n\n".join(sections) + "\n<!-- /measured -->"
    old = page.read_text() if page.exists() else text
    page.write_text(re.sub(r"<!-- measured -->.*<!-- /measured -->", lambda _: text, old, flags=re.DOTALL))
    print(f"{len(sections)} sweeps compared: {page}")


if __name__ == "__main__":
    main()
