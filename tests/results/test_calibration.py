"""w_c is the median of a majority that grokked, or there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt

import pytest
from results_rows import Row, full_row, grokked

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.calibration import resolve_control
from grok_sweeps.errors import CalibrationError

SHARES = {"embedding": 0.4, "hidden": 0.8, "readout": sqrt(1 - 0.16 - 0.64)}


def _control(run_id: str, norm: float, arch: str = "mlp", shares: Mapping[str, float] = SHARES) -> Row:
    layers = {f"norm_{layer}_at_grok": share * norm for layer, share in shares.items()}
    return grokked(run_id, 100, arch=arch, weight_norm_at_grok=norm, **layers)


def _rows(norms: list[float], n_censored: int = 0) -> dict[str, Row]:
    rows = [_control(f"g{k}", norm) for k, norm in enumerate(norms)]
    rows += [full_row(f"c{k}", max_steps=1000, p=59) for k in range(n_censored)]
    return {row["run_id"]: row for row in rows}


@pytest.mark.parametrize(
    ("norms", "n_censored", "w_c"), [([50.0, 60.0, 52.0], 0, 52.0), ([50.0, 60.0], 0, 55.0), ([50.0, 54.0], 1, 52.0)]
)
def test_w_c_is_the_median_of_the_runs_that_grokked(norms: list[float], n_censored: int, w_c: float) -> None:
    rows = _rows(norms, n_censored)
    resolved = resolve_control("c", list(rows), rows)
    assert resolved["w_c"] == w_c
    assert (resolved["n_runs"], resolved["n_grokked"]) == (len(rows), len(norms))
    assert resolved["run_ids"] == sorted(rows)


def test_the_shares_are_the_layers_and_their_squares_sum_to_one() -> None:
    rows = _rows([50.0, 60.0, 52.0])
    rows["g1"]["norm_embedding_at_grok"] *= 1.1
    resolved = resolve_control("c", list(rows), rows)
    shares = {layer: resolved[f"share_{layer}"] for layer in SHARES}
    assert shares == pytest.approx(SHARES)
    rows["g2"]["norm_embedding_at_grok"] *= 1.1
    moved = resolve_control("c", list(rows), rows)
    assert moved["share_embedding"] > shares["embedding"]
    assert sum(moved[f"share_{layer}"] ** 2 for layer in SHARES) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("n_grokked", "n_censored", "n_missing"), [(0, 3, 0), (1, 1, 0), (2, 2, 0), (2, 0, 2), (0, 0, 4)]
)
def test_half_or_less_gives_no_number_and_says_what_to_do(n_grokked: int, n_censored: int, n_missing: int) -> None:
    rows = _rows([50.0] * n_grokked, n_censored)
    run_ids = [*rows, *(f"missing{k}" for k in range(n_missing))]
    with pytest.raises(CalibrationError) as caught:
        resolve_control("abc123", run_ids, rows)
    message = str(caught.value)
    assert "w_c: control abc123" in message
    assert f"{n_grokked} of {len(run_ids)} runs" in message
    assert "train them on with `resume --max-steps N`, or pin w_c as a number" in message
    assert "\n" not in message


def test_the_error_names_what_waits_and_what_failed() -> None:
    rows = _rows([50.0], 1)
    for k in range(2):
        rows[f"f{k}"] = full_row(f"f{k}", outcome="failed", error=f"reason {k}")
    with pytest.raises(CalibrationError) as caught:
        resolve_control("c", list(rows), rows, n_waiting=1200)
    assert "1,200 runs wait for it" in str(caught.value)
    assert "2 failed (reason 0): `resume --failed` trains them again." in str(caught.value)


def test_the_error_names_the_horizon_and_the_modulus() -> None:
    rows = _rows([], 2)
    with pytest.raises(CalibrationError, match=r"p = 59.*max_steps = 1000"):
        resolve_control("c", list(rows), rows)


@pytest.mark.parametrize("shares", [{"embedding": 0.6, "readout": 0.8}, dict.fromkeys("abcd", 0.5)])
def test_the_shares_are_those_of_the_layers_that_the_architecture_has(
    shares: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "own", replace(ARCHITECTURES["mlp"], layers=tuple(shares)))
    rows = {f"g{k}": _control(f"g{k}", norm, "own", shares) for k, norm in enumerate((50.0, 52.0, 60.0))}
    resolved = resolve_control("c", list(rows), rows)
    found = {name.removeprefix("share_"): value for name, value in resolved.items() if name.startswith("share_")}
    assert found == pytest.approx(shares)
    rows["g1"].pop(f"norm_{next(iter(shares))}_at_grok")
    unread = resolve_control("c", list(rows), rows)
    assert unread["w_c"] == 52.0
    assert not [name for name in unread if name.startswith("share_")], "shares of some layers would not sum to 1"
