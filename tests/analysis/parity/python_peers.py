"""lifelines 0.30.3 and pingouin 0.7.0 on the two tables: `python python_peers.py` writes peers.json."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
from lifelines import CoxPHFitter, LogNormalAFTFitter, WeibullAFTFitter

HERE = Path(__file__).parent


def main():
    times = pd.read_csv(HERE / "times.csv")
    frame = times.assign(high=times["high"].fillna(np.inf))[["low", "high", "rho", "ln_tau"]]
    out = {}
    for name, fitter, scale in (
        ("lognormal", LogNormalAFTFitter(), "mu_"),
        ("weibull", WeibullAFTFitter(), "lambda_"),
    ):
        fitter.fit_interval_censoring(frame, "low", "high")
        beta = fitter.params_[scale]
        out[name] = {
            "beta": [float(beta[c]) for c in ("Intercept", "rho", "ln_tau")],
            "log_likelihood": float(fitter.log_likelihood_),
        }
    cox = CoxPHFitter().fit(times[["step", "event", "rho", "ln_tau"]], "step", "event")
    out["cox"] = {"beta": [float(cox.params_[c]) for c in ("rho", "ln_tau")]}
    table = pd.read_csv(HERE / "mediation.csv")
    result = pingouin.mediation_analysis(table, x="x", m="ln_scale", y="ln_step", n_boot=100, seed=0)
    out["mediation"] = {row.path: float(row.coef) for row in result.itertuples()}
    (HERE / "peers.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
