"""What the benches print: figures, ratios, JSON, and the projection's arithmetic; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import paper_all
from tests.bench.contenders import ratio, run_step_ms
from tests.bench.pieces import MATRICES, OTHER, OWN, REST, kind_of_call, kind_of_kernel, shares_of, spent_by_kernels
from tests.bench.projection import best_width, between, train_ms
from tests.bench.tables import Figure, Report, Table, number

TABLE = Table(
    "t",
    "A title",
    ("way", "ms"),
    (("one", Figure.of([3.0, 1.0, 2.0])), ("two", "not installed"), ("x", None), ("steps", 8548168)),
)


def test_a_figure_is_the_median_with_its_range() -> None:
    figure = Figure.of([3.0, 1.0, 2.0, 10.0])
    assert figure == Figure(2.5, 1.0, 10.0, 4)
    assert str(figure) == "2.5 [1, 10]"
    assert str(Figure.of([0.4734])) == "0.473"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.3449, "1.34"), (123.4, "123"), (8548168.0, "8.5e+06"), (45678.0, "45,678"), (2.5e-7, "2.5e-07")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_prints_as_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        "### A title",
        "",
        "| way | ms |",
        "|---|---|",
        "| one | 2 [1, 3] |",
        "| two | not installed |",
        "| x | — |",
        "| steps | 8,548,168 |",
    ]


def test_a_report_writes_every_figure_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("engine", {"cpu": "a processor", "gpu": None}, tmp_path / "bench.json")
    report.begin()
    report.add(TABLE)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert set(found) == {"bench", "machine", "tables"}
    assert found["tables"][0]["rows"] == [
        {"way": "one", "ms": {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}},
        {"way": "two", "ms": "not installed"},
        {"way": "x", "ms": None},
        {"way": "steps", "ms": 8548168},
    ]
    assert "cpu a processor" in capsys.readouterr().out


def test_ratios_are_of_medians_and_need_both() -> None:
    assert ratio(Figure.of([8.0]), 2.0) == 4.0
    assert ratio("not installed", 2.0) is None
    assert ratio(Figure.of([8.0]), "failed") is None


def test_workers_at_the_same_time_add_up() -> None:
    figure = run_step_ms([[(100, 1.0), (50, 1.0)], [(100, 0.5), (150, 1.0)]])
    assert (figure.least, figure.most, figure.n) == (pytest.approx(1e3 / 300), pytest.approx(5.0), 2)


@pytest.mark.parametrize(
    ("file", "function", "kind"),
    [
        ("~", "<built-in method torch.bmm>", MATRICES),
        ("~", "<method 'baddbmm_' of 'torch._C.TensorBase' objects>", MATRICES),
        ("~", "<method 'index_select' of 'torch._C.TensorBase' objects>", OTHER),
        ("~", "<built-in method builtins.len>", REST),
        ("/x/grok_sweeps/train/native/kernels.py", "mlp_gradient", OWN),
        ("/x/grok_sweeps/train/lanes.py", "advance", REST),
    ],
)
def test_a_call_is_told_apart_by_its_name(file: str, function: str, kind: str) -> None:
    assert kind_of_call(file, function) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8", MATRICES),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x64_8x5_nn_align1>(Params)", MATRICES),
        ("mlp_tile", OWN),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float> >", OTHER),
        ("Memcpy DtoH (Device -> Pinned)", OTHER),
    ],
)
def test_a_kernel_is_told_apart_by_its_name(name: str, kind: str) -> None:
    assert kind_of_kernel(name) == kind


def test_what_no_kernel_took_is_launches() -> None:
    kernels = [("mlp_tile", 2.0), ("sgemm", 1.0), ("another_tile", 0.5)]
    assert spent_by_kernels(kernels, 4.0) == {OWN: 2.5, MATRICES: 1.0, REST: 0.5}


def test_shares_sum_to_one() -> None:
    assert shares_of({"a": 3.0, "b": 1.0}) == {"a": 0.75, "b": 0.25}


def test_the_projection_refills_lanes_and_narrows_at_the_end() -> None:
    step_ms = {1: 1.0, 2: 1.5, 4: 2.5}
    assert train_ms([10], 4, step_ms) == 10.0
    assert train_ms([10, 10], 4, step_ms) == 15.0
    # Two lanes: 30 beside 10 and then 5 steps at 1.5, the last 15 alone.
    assert train_ms([10, 30, 5], 2, step_ms) == 15 * 1.5 + 15 * 1.0
    assert between(step_ms, 3) == 2.0
    assert between(step_ms, 9) == 2.5
    assert best_width(step_ms) == 4


def test_the_committed_shapes_are_those_of_the_preset() -> None:
    assert paper_all.FILE.read_text() == paper_all.text(), "run python -m tests.bench.paper_all"
