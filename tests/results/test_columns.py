"""The schema is what queries give, what was promised, and what the page on the columns says."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_rows import curve, grokked, new_sweep

from grok_sweeps import columns
from grok_sweeps.results import Store
from grok_sweeps.schema import VIEWS
from tests.written import write_results

PROMISED = (
    "sweep run_id cell_id arch p train_fraction d_model hidden loss optimizer lr weight_decay arm rho tau gamma "
    "clamp_from_step seeding seed dtype max_steps eval_every outcome memorized_step grokked_step delay steps_run error "
    "logit_scale_at_grok weight_norm_at_grok norm_embedding_at_grok norm_hidden_at_grok norm_readout_at_grok "
    "softmax_collapse_max saturation_at_grok grad_norm_at_grok update_norm_at_grok turn_angle_at_grok "
    "preactivation_rms_at_grok w_c held_norm fork_of fork_step fork_norm fork_state_sha256 "
    "version git_sha torch ray device host lanes started_at finished_at wall_s "
)


def test_the_page_on_the_columns_is_not_stale() -> None:
    assert columns.PAGE.read_text() == columns.page(), "run `make docs`"


def test_every_promised_column_is_there_and_says_what_it_is() -> None:
    assert set(PROMISED.split()) <= {column.name for column in VIEWS["runs"]}
    for view, described in VIEWS.items():
        assert all(column.meaning for column in described), view
        assert len({column.name for column in described}) == len(described), view


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_exactly_the_columns_of_the_schema(view: str, tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path)
    write_results(sweep, "pack", "a1", 1, [grokked("r", 100)], [curve("r", [1, 25]), curve("half", [1])])
    answer = Store(sweep.objects).arrow(f"FROM {view}")
    assert len(answer) > 0
    assert answer.schema.names == [column.name for column in VIEWS[view]]
    assert [str(kind) for kind in answer.schema.types] == [str(column.dtype) for column in VIEWS[view]]


def test_what_is_never_null_is_not(tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path)
    write_results(sweep, "pack", "a1", 1, [grokked("r", 100)], [curve("r", [1, 25]), curve("half", [1])])
    for view, described in VIEWS.items():
        answer = Store(sweep.objects).arrow(f"FROM {view}")
        for column in described:
            assert column.null or answer[column.name].null_count == 0, f"{view}.{column.name}"
