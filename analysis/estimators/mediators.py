"""Is it L, or another quantity that the dose moves? Gradient, update, turn angle, pre-activation scale against L.

Each is read at grokking like L and takes its logarithm. For every rival: the partial R² of the rival given L and of L
given the rival in ln T; for all together: the Shapley (LMG) share of R². A share is a description: the readings are
outcomes of one run (endogenous, as L is), strongly correlated, and an R² that cannot be told apart is split evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from analysis.estimate import Estimate, Named, absent
from analysis.methods.bootstrap import Floats
from analysis.methods.convention import InBoth, usable
from analysis.methods.products import covariance
from analysis.methods.resampled import Kind, interval_of
from analysis.methods.samples import SENTENCES, Sample, cell_sample, logit_scale, run_sample
from analysis.methods.shares import lmg, r_squared_of_subsets
from analysis.table.cells import Cell

SCALE = "logit_scale"
RIVALS = ("grad_norm", "update_norm", "turn_angle", "preactivation_rms")


@dataclass(frozen=True, slots=True)
class MediatorFit(Named):
    """One convention: `partial_r2_<rival>_given_logit_scale` and the reverse, `r2_all`, `lmg_share_<regressor>`."""

    convention: str
    estimates: tuple[Estimate, ...]
    method: str


@dataclass(frozen=True, slots=True)
class Mediators(InBoth):
    """Competing mediators in both conventions."""

    runs: MediatorFit
    paper: MediatorFit


def mediators(cells: Sequence[Cell], rows: pd.DataFrame, *, resamples: int, seed: int) -> Mediators:
    """Partial R² of each rival and L given the other, and LMG shares, over the clamp cells of one family.

    `rows` are the family's clean runs with a column `<rival>_at_grok` for each rival; one without values is left out.
    """
    used, left_out = usable(cells)
    grokked = {r.run_id for c in used for r in c.runs if np.isfinite(r.grokked_step)}
    rows = rows[rows["run_id"].isin(grokked).to_numpy()]
    readings = {SCALE: logit_scale(used)}
    lacking = []
    for rival in RIVALS:
        values = rows[f"{rival}_at_grok"].to_numpy(dtype=np.float64) if f"{rival}_at_grok" in rows else np.array([])
        if np.any(values > 0):
            readings[rival] = dict(zip(rows["run_id"], values, strict=True))
        else:
            lacking.append(rival)
    given: list[tuple[float, ...]] = [()] * len(used)
    samples = (
        run_sample(used, given, readings, resamples=resamples, seed=seed, left_out=left_out),
        cell_sample(used, given, readings, resamples=resamples, seed=seed, left_out=left_out),
    )
    runs, paper = (_fit(s, tuple(readings), tuple(lacking)) for s in samples)
    return Mediators(runs, paper)


def _fit(sample: Sample, names: tuple[str, ...], lacking: tuple[str, ...]) -> MediatorFit:
    columns = sample.columns
    k = len(names)
    shared = f"ln T on logarithms of readings at grokking, ordinary least squares. {SENTENCES[sample.convention]}"
    problem = _problem(columns, names)
    if problem:
        sample = sample.without_resamples()
    full = None if problem else _Explained.by(covariance(columns))
    drawn = None if sample.resampled is None else _Explained.by(sample.resampled)

    def estimate(
        name: str, sentence: str, of: Callable[[_Explained], Floats], reason: str, kind: Kind = Kind.R2
    ) -> Estimate:
        method = f"{sentence} {shared} {kind}"
        value = np.nan if full is None or reason else float(of(full))
        reason = problem or reason or ("" if np.isfinite(value) else "its regressors are collinear, or one is constant")
        if reason:
            return absent(
                name, "1", method, reason, n_runs=sample.n_runs, n_cells=sample.n_cells, left_out=sample.left_out
            )
        interval, why = (
            (None, sample.no_interval) if drawn is None else interval_of(kind, of(drawn), value, sample.n_seeds)
        )
        return Estimate(
            name,
            value,
            "1",
            method,
            interval,
            n_runs=sample.n_runs,
            n_cells=sample.n_cells,
            left_out=sample.left_out,
            interval_reason=why,
            resampling=sample.resampling,
        )

    made = []
    for rival in RIVALS:
        reason = f"no run has {rival}_at_grok" if rival in lacking else ""
        j = names.index(rival) if rival in names else 0
        text = f"(R²(L, {rival}) − R²({{given}})) / (1 − R²({{given}}))."
        forth, back = text.format(given="L"), text.format(given=rival)
        made.append(
            estimate(
                f"partial_r2_{rival}_given_{SCALE}", forth, partial(_Explained.partial, reading=j, given=0), reason
            )
        )
        made.append(
            estimate(f"partial_r2_{SCALE}_given_{rival}", back, partial(_Explained.partial, reading=0, given=j), reason)
        )
    alone = "L is the only reading there is" if k == 1 else ""
    every = tuple(range(k))
    made.append(estimate("r2_all", f"R² on {', '.join(names)}.", lambda f: f.of[every], alone))
    for name in (SCALE, *RIVALS):
        reason = alone or (f"no run has {name}_at_grok" if name in lacking else "")
        j = names.index(name) if name in names else 0
        sentence = (
            f"Shapley (LMG) share of {name} in r2_all: mean over all orders of entry of the R² it adds, over r2_all."
        )
        made.append(
            estimate(f"lmg_share_{name}", sentence, partial(_Explained.share, reading=j), reason, Kind.EXPANDED)
        )
    return MediatorFit(sample.convention, tuple(made), shared)


@dataclass(frozen=True, eq=False)
class _Explained:
    """R² [...] of ln T on every subset of the readings, and LMG parts over their sum, [..., k]."""

    of: Mapping[tuple[int, ...], Floats]
    shares: Floats

    @classmethod
    def by(cls, cov: Floats) -> _Explained:
        """All of it from covariances of the readings and ln T."""
        of = r_squared_of_subsets(cov)
        parts = lmg(of)
        total = parts.sum(axis=-1, keepdims=True)
        return cls(of, np.where(total > 0, parts / np.where(total > 0, total, 1.0), np.nan))

    def share(self, reading: int) -> Floats:
        """LMG share of one reading."""
        return np.asarray(self.shares[..., reading])

    def partial(self, reading: int, given: int) -> Floats:
        """Share of what `given` leaves unexplained that `reading` explains."""
        left = 1 - self.of[given,]
        added = self.of[min(reading, given), max(reading, given)] - self.of[given,]
        return np.where(left > 1e-12, added / np.where(left > 1e-12, left, 1.0), np.nan)


def _problem(columns: Floats, names: tuple[str, ...]) -> str:
    if len(columns) < len(names) + 3:
        return f"usable rows: {len(columns)}, at least {len(names) + 3} are needed for {len(names)} regressors"
    return "grokked_step is the same in all rows" if np.ptp(columns[:, -1]) <= 1e-9 else ""
