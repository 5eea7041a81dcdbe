"""The runs of one family as grokking times that are known to lie in an interval, with what the experimenter set.

Every run of the arm clamp is in it, censored ones as times beyond their last step; a run without any step to its name
is the only one that cannot be, and is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

from grok_sweeps.analysis.estimate import LEVEL, Basis
from grok_sweeps.analysis.methods.accelerated import Fit, Times
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints
from grok_sweeps.analysis.table.cells import Cell

UNITS = {"rho": "ln step per unit of rho", "ln_tau": "ln step per unit of ln tau"}
TIMES = (
    "Over the runs of arm clamp: a grokked run has T in (step − eval_every, step], a censored or diverged one T beyond "
    "steps_run; none is left out for being censored."
)
CLUSTERED = "Interval: robust covariance by seed with the factor S / (S − 1), t with S − 1 degrees of freedom, S seeds."
BY_INFORMATION = "Interval: from the observed information, runs taken as independent (their seeds cannot be used)."


@dataclass(frozen=True, eq=False)
class CensoredSample(Basis):
    """Times and regressors [n, k] by run, the run's cell and seed (as numbers from 0), and what was left out."""

    times: Times
    regressors: Floats
    names: tuple[str, ...]
    cell: Ints
    seed: Ints
    no_seeds: str

    @property
    def grokked(self) -> np.ndarray:
        """Which runs grokked, [n]."""
        return np.asarray(np.isfinite(self.times.high))

    def covariance(self, fitted: Fit) -> tuple[Floats, float, str]:
        """Covariance of (β, σ), the quantile to multiply its root with, and the sentence that says so."""
        if self.no_seeds:
            return fitted.covariance, float(t.ppf((1 + LEVEL) / 2, np.inf)), BY_INFORMATION
        n_seeds = int(self.seed.max()) + 1
        return fitted.clustered(self.seed), float(t.ppf((1 + LEVEL) / 2, n_seeds - 1)), CLUSTERED


def censored_sample(used: Sequence[Cell], rows: pd.DataFrame) -> CensoredSample:
    """The runs of these cells; `rows` has their eval_every, steps_run and max_steps by run_id."""
    by_run = rows.drop_duplicates("run_id").set_index("run_id")[["eval_every", "steps_run", "max_steps"]]
    lookup = dict(zip(by_run.index, by_run.to_numpy(dtype=np.float64), strict=True))
    low, high, cell_of, seeds, regressors = [], [], [], [], []
    n_lost = n_exact = n_diverged = 0
    for place, cell in enumerate(used):
        n_diverged += cell.n_diverged
        for run in cell.runs:
            every, ran, budget = lookup.get(run.run_id, (np.nan, np.nan, np.nan))
            end = ran if ran > 0 else budget
            if np.isfinite(run.grokked_step):
                exact = not every > 0
                n_exact += exact
                low.append(run.grokked_step if exact else max(run.grokked_step - every, 0.0))
                high.append(run.grokked_step)
            elif end > 0:
                low.append(end)
                high.append(np.inf)
            else:
                n_lost += 1
                continue
            cell_of.append(place)
            seeds.append(run.seed)
            regressors.append((cell.rho or 0.0, float(np.log(cell.tau))))
    sentences = (
        (n_lost, "runs that did not grok have neither steps_run nor max_steps"),
        (n_exact, "grokked runs have no eval_every: their step is taken as exact (not left out)"),
        (n_diverged, "diverged runs count as censored where they ended (not left out)"),
    )
    design = np.array(regressors, dtype=float).reshape(len(low), 2)
    varies = [len(low) > 0 and np.ptp(column) > 0 for column in design.T]
    known = sorted({s for s in seeds if s is not None})
    nameless = sum(s is None for s in seeds)
    no_seeds = f"{nameless} runs have no seed" if nameless else "" if len(known) > 1 else "there is one seed"
    return CensoredSample(
        times=Times(np.array(low, dtype=float), np.array(high, dtype=float)),
        regressors=design[:, varies],
        names=tuple(name for name, has in zip(UNITS, varies, strict=True) if has),
        cell=np.array(cell_of, dtype=np.int64),
        seed=np.array([-1 if s is None else known.index(s) for s in seeds], dtype=np.int64),
        no_seeds=no_seeds,
        n_runs=len(low),
        n_cells=len(set(cell_of)),
        left_out=tuple(f"{n} {what}" for n, what in sentences if n),
    )
