"""Accuracy curves: one step axis a cell, and no median over the slow seeds only."""

import numpy as np
import pandas as pd

from grok_sweeps.analysis import analyze


def readings(run, steps, test):
    return pd.DataFrame(
        {
            "sweep": "made",
            "run_id": run.run_id,
            "attempt": "a1",
            "step": steps,
            "train_accuracy": 1.0,
            "test_accuracy": test,
        }
    )


def test_a_run_that_ended_keeps_its_last_reading(make_runs):
    runs = make_runs([{"seed": 0, "grokked_step": 50}, {"seed": 1, "grokked_step": 100}])
    fast, slow = runs.itertuples()
    curves = pd.concat([readings(fast, [25, 50], [0.1, 0.9]), readings(slow, [25, 50, 75, 100], [0.1, 0.2, 0.3, 0.9])])
    (curve,) = analyze(runs, curves, sweep="made").families[0].curves
    assert curve.step.tolist() == [25, 50, 75, 100]
    np.testing.assert_allclose(curve.test.median, [0.1, 0.55, 0.6, 0.9])
    np.testing.assert_allclose(curve.test.low, [0.1, 0.2, 0.3, 0.9])
    np.testing.assert_allclose(curve.test.high, [0.1, 0.9, 0.9, 0.9])


def test_readings_of_an_attempt_that_did_not_finish_the_run_are_left_out(make_runs):
    runs = make_runs([{"seed": 0, "grokked_step": 50}])
    (run,) = runs.itertuples()
    lost = readings(run, [25, 50, 75], [0.0, 0.0, 0.0]).assign(attempt="a0")
    (curve,) = analyze(runs, pd.concat([lost, readings(run, [25, 50], [0.1, 0.9])]), sweep="made").families[0].curves
    assert curve.step.tolist() == [25, 50]
    np.testing.assert_allclose(curve.test.median, [0.1, 0.9])


def test_readings_without_a_run_are_left_out(make_runs):
    runs = make_runs([{"seed": 0, "grokked_step": 50}])
    (run,) = runs.itertuples()
    stray = readings(run, [25], [0.5]).assign(run_id="nobody")
    assert analyze(runs, stray, sweep="made").families[0].curves == ()
