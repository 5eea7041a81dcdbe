"""What is left of a sweep to train, and where its states lie: what the driver knows between two looks at the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grok_sweeps.plan import Pack, Plan, PlannedRun
from grok_sweeps.store import SweepStore
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.todo import Todo
from grok_sweeps.train.work import RunWork, planned_work, with_states


class Remaining:
    """The difference between a plan and its results table.

    Args:
        store: the sweep's objects.
        plan: its runs.
        log: its rows.
        extend_to: the longer budget of censored runs, if any.
    """

    def __init__(self, store: SweepStore, plan: Plan, log: RowLog, extend_to: int | None = None) -> None:
        self._plan, self._log, self._extend_to = plan, log, extend_to
        self._index = StateIndex(store)

    @property
    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """The rows as last read."""
        return self._log.rows

    def _todo(self) -> Todo:
        return Todo(self._plan, self._extend_to, self._index.kept if self._plan.parents else {})

    def runs(self, stage: int | None = None) -> list[PlannedRun]:
        """Runs that have more to do, of one stage or of all."""
        return self._todo().runs(self.rows, stage)

    def blocked(self) -> dict[str, str]:
        """Runs that cannot start, with the run that ended without the state they start from."""
        return self._todo().blocked(self.rows)

    def left_of(self, pack: Pack) -> frozenset[str]:
        """The runs of a pack, an attempt at which is over, that have more to do; their newest states are looked up.

        Raises:
            StoreError: the store cannot be read.
        """
        self._log.refresh()
        self._index.refresh_pack(pack.pack_id, [run for run in pack.runs if run.run_id in self._plan.fork_parents])
        return frozenset(run.run_id for run in self._todo().left_of(pack.runs, self.rows))

    def work_of(self, pack: Pack) -> list[RunWork]:
        """The runs of a pack that have more to do, with the states that they go on from."""
        runs = [planned_work(run, self._plan, self._extend_to) for run in pack.runs]
        return with_states(runs, self.rows, self._index)

    def trained_longer(self) -> tuple[int, int]:
        """How many censored runs have more to do, and how many of them start anew, since they have no state."""
        rows = self.rows
        longer = [r.run_id for r in self.runs() if r.run_id in rows and rows[r.run_id]["outcome"] == "censored"]
        return len(longer), sum(not self._index.candidates(run_id) for run_id in longer)

    def refresh(self) -> None:
        """Look for all states again."""
        self._index.refresh()

    def delete_finished(self) -> None:
        """Delete checkpoints that nothing will go on from.

        That of a failed run stays, since it may be trained again, and that of a run which is trained again now.
        """
        again = {run.run_id for run in self.runs()}
        rows = list(self.rows.items())
        self._index.delete_finished(
            {i: row["steps_run"] for i, row in rows if row["outcome"] != "failed" and i not in again}
        )
