"""Draws the two tables that the other programs and the tests read: `python make_times.py` (numpy, seeds fixed).

times.csv: (low, high] of T (high empty: right-censored), rho, ln_tau, seed, step (of the exact-time analysis), event.
mediation.csv: x, ln_tau, ln_scale, ln_step, and two rivals; seed effects in all of them.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def times():
    rng = np.random.default_rng(7)
    rho, ln_tau, seed = (
        a.ravel() for a in np.meshgrid([1.0, 1.05, 1.1, 1.15], np.log([1.0, 1.3, 1.7]), np.arange(10), indexing="ij")
    )
    slow = rng.normal(0, 0.1, 10)[seed]
    step = np.ceil(np.exp(8 + 6 * (rho - 1) - 1.5 * ln_tau + slow + rng.normal(0, 0.2, len(rho))) / 25) * 25
    event = step <= 4000
    low = np.where(event, step - 25, 4000)
    with (HERE / "times.csv").open("w") as file:
        file.write("low,high,rho,ln_tau,seed,step,event\n")
        for row in zip(low, step, rho, ln_tau, seed, event, strict=True):
            high = f"{row[1]:.0f}" if row[5] else ""
            file.write(
                f"{row[0]:.0f},{high},{row[2]},{float(row[3])!r},{row[4]:.0f},{min(row[1], 4000):.0f},{int(row[5])}\n"
            )


def mediation():
    rng = np.random.default_rng(8)
    x, ln_tau, seed = (
        a.ravel() for a in np.meshgrid([0.0, 1 / 3, 2 / 3, 1.0], np.log([1.0, 1.3, 1.7]), np.arange(8), indexing="ij")
    )
    effect = rng.normal(0, 0.05, (2, 8))
    n = len(x)
    ln_scale = 3 + 0.35 * x - 0.5 * ln_tau + effect[0][seed] + rng.normal(0, 0.1, n)
    ln_step = 4 + 1.2 * ln_scale + 0.3 * x + effect[1][seed] + rng.normal(0, 0.2, n)
    ln_grad = 1 - 0.6 * ln_scale + rng.normal(0, 0.1, n)
    ln_turn = -4 + 0.2 * x + 0.1 * ln_step + rng.normal(0, 0.1, n)
    with (HERE / "mediation.csv").open("w") as file:
        file.write("x,ln_tau,ln_scale,ln_step,ln_grad,ln_turn,seed\n")
        for row in zip(x, ln_tau, ln_scale, ln_step, ln_grad, ln_turn, seed, strict=True):
            file.write(",".join(f"{v:.12g}" for v in row) + "\n")


if __name__ == "__main__":
    times()
    mediation()
