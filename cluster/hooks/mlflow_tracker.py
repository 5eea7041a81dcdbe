"""MLflow: an experiment of the sweep's name, in it one run a training run.

The server tells which runs it has whole: those that ended. One that did not was cut off, and is deleted there (MLflow
keeps deleted runs until its own `gc`) and logged anew, as is one whose row has since been replaced.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from grok_sweeps.cluster.hooks.tracker import Row, Version, numbers, parameters, readings, version, words

MOST_METRICS = 1000
"""Of one call; the server refuses more. It takes 100 parameters, and a row has fewer."""
MOST_RUNS = 1000
"""Of one page of a search."""


class MlflowTracker:
    """Logs to the server, file or database at `uri`."""

    def __init__(self, uri: str, sweep: str) -> None:
        from mlflow import MlflowClient

        self._client, self._sweep = MlflowClient(tracking_uri=uri), sweep
        self._experiment: str | None = None
        self._there: dict[str, str] = {}

    def logged(self) -> Mapping[str, Version]:
        """The run_ids of this sweep that ended there."""
        logged: dict[str, Version] = {}
        for run in self._runs():
            run_id = run.data.tags.get("run_id")
            if run_id is None:
                continue
            self._there[run_id] = run.info.run_id
            steps = run.data.metrics.get("steps_run")
            if run.info.end_time and steps is not None:
                logged[run_id] = (run.data.tags.get("outcome", ""), int(steps))
        return logged

    def log(self, row: Row, curve: pa.Table) -> None:
        """Make the run anew, whole."""
        from mlflow.entities import Metric, Param

        older = self._there.get(row["run_id"])
        if older is not None:
            self._client.delete_run(older)
        began, ended = (int(row[name].timestamp() * 1000) for name in ("started_at", "finished_at"))
        run = self._client.create_run(
            self._experiment_id(), start_time=began, tags=words(row), run_name=f"{self._sweep}-{row['run_id']}"
        )
        there = self._there[row["run_id"]] = run.info.run_id
        params = [Param(name, str(value)) for name, value in parameters(row).items()]
        _, last = version(row)
        metrics = itertools.chain(
            (Metric(name, value, ended, step) for step, read in readings(curve) for name, value in read.items()),
            (Metric(name, value, ended, last) for name, value in numbers(row).items()),
        )
        self._client.log_batch(there, params=params)
        while batch := list(itertools.islice(metrics, MOST_METRICS)):
            self._client.log_batch(there, metrics=batch)
        self._client.set_terminated(there, "FAILED" if row["outcome"] == "failed" else "FINISHED", end_time=ended)

    def _runs(self) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment_id()], max_results=MOST_RUNS, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _experiment_id(self) -> str:
        if self._experiment is None:
            found = self._client.get_experiment_by_name(self._sweep)
            self._experiment = found.experiment_id if found else self._client.create_experiment(self._sweep)
        return self._experiment
