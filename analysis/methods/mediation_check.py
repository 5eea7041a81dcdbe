"""The same mediation by statsmodels, beside ours: a check of the method, not a second answer.

statsmodels' parametric simulation (Imai, Keele and Tingley 2010, algorithm 1) draws both models' coefficients from
their normal approximation and takes rows as independent. Runs of one seed are not: its interval is for comparison.
"""

from __future__ import annotations

import numpy as np
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.mediation import Mediation as Simulation

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.methods.bootstrap import Floats, percentile_interval
from grok_sweeps.analysis.methods.pathways import M, X, Y, Z
from grok_sweeps.analysis.methods.samples import Sample

SIMULATIONS = 100
"""Few, since it is a check: the mean is known to a tenth of its standard error."""
SIMULATED = ("acme_statsmodels", "ade_statsmodels", "proportion_mediated_statsmodels")


class _Normal:
    """Draws as `scipy.stats.norm` does, which takes longer to be made than the rest of a simulation."""

    def __init__(self, loc: Floats, scale: float) -> None:
        self.loc, self.scale = loc, scale

    def rvs(self, size: int, rng: np.random.Generator) -> Floats:
        """One value a row."""
        return np.asarray(self.loc + self.scale * rng.standard_normal(size))


class _Mediator(OLS):  # type: ignore[misc]
    """The first model, of which statsmodels draws the mediator."""

    def get_distribution(self, params: Floats, scale: float, exog: Floats | None = None) -> _Normal:
        """The predictive distribution by row."""
        return _Normal(self.predict(params, exog), np.sqrt(scale))


def simulated(sample: Sample, instrument: bool, problem: str, shared: str, seed: int) -> tuple[Estimate, ...]:
    """ACME, ADE and proportion mediated of the same two models by statsmodels, or `problem` as the reason for none."""
    columns = sample.columns
    method = (
        f"Check of the method: statsmodels Mediation, parametric, {SIMULATIONS} simulations; mean over them, median "
        f"for the proportion. Its interval takes rows as independent, which runs of one seed are not. {shared}"
    )
    units = ("ln step", "ln step", "1")
    if problem:
        return tuple(sample.absent(name, unit, method, problem) for name, unit in zip(SIMULATED, units, strict=True))
    one = np.ones(len(columns))
    outcome = OLS(columns[:, Y], np.column_stack([one, columns[:, X], columns[:, M]]))
    mediator = _Mediator(columns[:, M], np.column_stack([one, columns[:, [X, Z] if instrument else [X]]]))
    result = Simulation(outcome, mediator, (1, 1), 2).fit("parametric", SIMULATIONS, rng=np.random.default_rng(seed))
    draws = (result.ACME_avg, result.ADE_avg, result.prop_med_avg)
    middles = (np.mean(draws[0]), np.mean(draws[1]), np.median(draws[2]))
    text = f"{SIMULATIONS} parametric simulations, seed {seed}"

    def estimate(name: str, unit: str, middle: float, values: Floats) -> Estimate:
        interval, why = percentile_interval(values)
        return sample.stated(name, unit, method, float(middle), interval, why, text)

    return tuple(estimate(*p) for p in zip(SIMULATED, units, middles, draws, strict=True))
