"""Which stage a driver trains next: the one after, or again an earlier one, whose states are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from grok_sweeps.plan import Plan, PlannedRun
from grok_sweeps.store import SweepStore

MOST_TIMES_AGAIN = 3
"""How often one driver has a fork's parent trained again whose state is lost."""


class StageOrder:
    """One stage after the other, and back to an earlier one for parents whose state, from which forks start, is lost.

    `errors` say which states are lost however often they are made, one line each.
    """

    def __init__(self, store: SweepStore, plan: Plan, say: Callable[[str], None]) -> None:
        self._store, self._plan, self._say = store, plan, say
        self._times: Counter[str] = Counter()
        self.errors: list[str] = []

    def after(self, stage: int, todo: Sequence[PlannedRun], *, gave_up: bool) -> int:
        """The stage to train after this one, given what is to do by now; past the last where none can be trained."""
        lost = [run for run in todo if run.stage < stage]
        if lost and not gave_up and self._train_again(lost):
            return min(run.stage for run in lost)
        return self._plan.n_stages if any(run.stage == stage for run in todo) else stage + 1

    def _train_again(self, parents: Sequence[PlannedRun]) -> bool:
        """Whether these runs of earlier stages, which have their rows, are to be trained again."""
        self._times.update(run.run_id for run in parents)
        for run in parents:
            if self._times[run.run_id] > MOST_TIMES_AGAIN:
                name = self._store.layout.state(run.run_id, run.config.max_steps)
                self.errors.append(
                    f"{name}: still damaged or missing after {MOST_TIMES_AGAIN} attempts, and forks start "
                    "from it; see what deletes or damages the store's files."
                )
        if not self.errors:
            again = f"{len(parents)} {runs_are(len(parents))} trained again"
            self._say(f"{again}: states that forks start from are lost")
        return not self.errors


def runs_are(n: int) -> str:
    """`run is` or `runs are`."""
    return "run is" if n == 1 else "runs are"
