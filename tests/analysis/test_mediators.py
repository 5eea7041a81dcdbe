"""Competing mediators: LMG against R, identities of the shares, and which reading wins on data of known law."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweeps.analysis.estimators.mediators import mediators
from grok_sweeps.analysis.methods.products import covariance, r_squared
from grok_sweeps.analysis.methods.shares import lmg, r_squared_of_subsets
from grok_sweeps.analysis.table.cells import RIVALS, make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.tables import clean

PARITY = Path(__file__).parent / "parity"


@pytest.fixture(scope="module")
def analysed(make_runs):
    def analysed(rows, resamples=200, **columns):
        tables = clean(make_runs(rows).assign(**columns), pd.DataFrame(), ["made"])
        family = split(tables.runs)[0][1]
        return mediators(make_cells(family, tables.missing), family, resamples=resamples, seed=0)

    return analysed


@pytest.fixture
def rivals(grid):
    """The grid whose T follows L only, with rivals that follow L and noise."""
    rng = np.random.default_rng(2)
    return [
        {
            **r,
            **{
                f"{name}_at_grok": float(r["logit_scale_at_grok"] ** power * np.exp(rng.normal(0, 0.2)))
                for name, power in zip(RIVALS, (0.5, -0.5, 0.2, 1.0), strict=True)
            },
        }
        for r in grid(seeds=8)
    ]


def test_the_shares_equal_the_enumeration_of_all_orders_in_r():
    theirs = json.loads((PARITY / "r.json").read_text())["lmg"]
    table = pd.read_csv(PARITY / "mediation.csv")[["ln_scale", "ln_grad", "ln_turn", "ln_step"]]
    parts = lmg(r_squared_of_subsets(covariance(table.to_numpy())))
    np.testing.assert_allclose(parts, theirs["parts"], rtol=1e-9)
    assert parts.sum() == pytest.approx(theirs["r2"], rel=1e-9)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_r2_of_a_subset_is_that_of_its_own_fit(seed, k):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(3, 20, k + 1))
    columns[0, :, 0] = 1.0  # constant
    columns[1, :, k // 2] = columns[1, :, 0]  # collinear where that is another column
    for subset, ours in r_squared_of_subsets(covariance(columns)).items():
        np.testing.assert_allclose(ours, r_squared(covariance(columns), k, subset), rtol=1e-9, atol=1e-12)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_shares_are_never_negative_and_sum_to_r2(seed, k):
    cov = covariance(np.random.default_rng(seed).normal(size=(3, 20, k + 1)))
    parts = lmg(r_squared_of_subsets(cov))
    assert (parts > -1e-12).all()
    np.testing.assert_allclose(parts.sum(axis=-1), r_squared(cov, k, range(k)))


def test_of_orthogonal_regressors_each_has_its_own_r2():
    x = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=float)
    y = x @ [1.0, 2.0, 0.5] + x[:, 0] * x[:, 1]
    cov = covariance(np.column_stack([x, y]))
    np.testing.assert_allclose(lmg(r_squared_of_subsets(cov)), [r_squared(cov, 3, (j,)) for j in range(3)])


def test_more_regressors_than_allowed_are_refused_in_one_line():
    with pytest.raises(ValueError, match="8 regressors"):
        r_squared_of_subsets(np.eye(9))


def test_the_reading_that_t_follows_wins(rivals, analysed):
    result = analysed(rivals)
    runs = result.runs
    for rival in RIVALS:
        assert runs[f"partial_r2_logit_scale_given_{rival}"].value > 0.5
        assert runs[f"partial_r2_{rival}_given_logit_scale"].value < 0.1
    shares = {name: runs[f"lmg_share_{name}"].value for name in ("logit_scale", *RIVALS)}
    assert max(shares, key=shares.get) == "logit_scale"
    assert sum(shares.values()) == pytest.approx(1)
    assert runs["r2_all"].resampling == "200 resamples of 8 seeds, seed 0"


def test_partial_r2_is_the_squared_correlation_of_the_residuals(rivals, analysed):
    value = analysed(rivals).runs["partial_r2_grad_norm_given_logit_scale"].value
    scale, grad, step = (
        np.log([r[c] for r in rivals]) for c in ("logit_scale_at_grok", "grad_norm_at_grok", "grokked_step")
    )
    a, b = (v - np.polyval(np.polyfit(scale, v, 1), scale) for v in (grad, step))
    assert value == pytest.approx(np.corrcoef(a, b)[0, 1] ** 2, rel=1e-6)


@pytest.mark.parametrize("absent", RIVALS)
def test_a_reading_that_a_table_lacks_has_a_reason_and_the_others_stay(absent, rivals, analysed):
    fitted = analysed(rivals, **{f"{absent}_at_grok": None}).runs
    assert fitted[f"lmg_share_{absent}"].reason == f"no run has {absent}_at_grok"
    assert sum(e.value or 0 for e in fitted.estimates if e.name.startswith("lmg")) == pytest.approx(1)


def test_without_any_rival_there_are_reasons_only(grid, analysed):
    result = analysed(grid())
    assert all(e.value is None and e.reason for f in (result.runs, result.paper) for e in f.estimates)


def test_a_rival_that_is_l_itself_is_collinear(rivals, analysed):
    rows = [{**r, "grad_norm_at_grok": 2 * r["logit_scale_at_grok"]} for r in rivals]
    fitted = analysed(rows).runs
    assert "collinear" in fitted["partial_r2_grad_norm_given_logit_scale"].reason
    assert "collinear" in fitted["r2_all"].reason
