"""One campaign: sweeps through the command line, faults at their moments, resumes until all is done, and the account.

A sweep that ends before the faults do is followed by the same sweep under another name, so the faults find work
whatever the machine's speed. Everything that is waited for is a condition with a bound.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from grok_sweeps.store import SweepStore, open_objects
from tests.cluster.cluster_processes import Sweeping
from tests.faults.compare import Losses, Results, compare
from tests.faults.injuries import INJURIES, Scene
from tests.faults.kinds import KINDS, CampaignName
from tests.faults.outcome import Outcome
from tests.faults.places import Place
from tests.faults.processes import Family
from tests.faults.schedule import Fault
from tests.faults.steps import CountedSteps
from tests.faults.sweeps import SmallSweep

HUNG_S = 240.0
"""A command that trains nothing for so long is given up: twice as long as a store is waited for."""
MOST_RESUMES = 8
"""After the last fault."""
SHORT_LEASE_S = 8.0
"""The lease of campaigns with two drivers, so that a stopped one is soon replaced."""
ORPHANS_END_S = 180.0
"""Bound of the wait for what a killed driver leaves: Ray's agents look once a minute whether their parent is there."""


class Campaign:
    """Holds a campaign in `folder` until it is done; no more faults after `until` of `time.monotonic`.

    `undisturbed` are the results that the sweep has without faults; None compares nothing.
    """

    def __init__(
        self,
        name: CampaignName,
        sweep: SmallSweep,
        faults: Sequence[Fault],
        place: Place,
        family: Family,
        folder: Path,
        undisturbed: Results | None,
        until: float,
    ) -> None:
        self._name, self._sweep, self._faults, self._place, self._family = name, sweep, faults, place, family
        self._folder, self._undisturbed, self._until = folder, undisturbed, until
        self._steps = CountedSteps(folder / "steps")
        self._environment = {**os.environ, **place.environment, **self._steps.environment, **_own_folders(folder)}
        if name.kind in KINDS and KINDS[name.kind].two_drivers:
            self._environment["GROK_SWEEPS_LEASE_S"] = f"{SHORT_LEASE_S}"
        self._sweeps: list[str] = []
        self._attempt: Sweeping | None = None
        self._mark = 0
        self._injected: Counter[str] = Counter()
        self._began, self._began_at = time.monotonic(), datetime.now(UTC)
        self._moments: list[tuple[float, str]] = []
        self._resumes = self._hung = self._seconds = 0
        self._too_many: Counter[str] = Counter()

    def hold(self) -> Outcome:
        """Inject the faults, let the last sweep end, and compare."""
        try:
            for fault in self._faults:
                if not self._inject(fault):
                    break
            self._complete()
            orphans = self._orphans()
        finally:
            self._family.kill(HUNG_S)
        results = [self._sweep.results(self._place.own_uri, name) for name in self._sweeps]
        expected = self._undisturbed or results[0]
        return Outcome(
            self._name,
            dict(self._injected),
            len(results),
            sum(len(found.planned) for found in results),
            sum((compare(expected, found) for found in results), Losses()),
            len(orphans),
            self._steps.total(),
            sum(found.run_steps for found in results),
            self._resumes,
            self._hung,
            self._elapsed_s,
            self._too_many.total(),
            notes={
                **_complaints("".join(log.read_text() for log in sorted(self._folder.glob("**/run.log")))),
                **{f"driver too many: {what}": n for what, n in self._too_many.items()},
                **Counter(f"orphan: {name}" for name in orphans),
                **self._effects(results),
            },
            moments=tuple(self._moments),
        )

    @property
    def _elapsed_s(self) -> float:
        return round(time.monotonic() - self._began, 1)

    def results(self) -> Results:
        """Those of the first sweep."""
        return self._sweep.results(self._place.own_uri, self._sweeps[0])

    def _inject(self, fault: Fault) -> bool:
        """Inject a fault at its moment, in this attempt or the next; return whether there was time for it."""
        while time.monotonic() < self._until:
            attempt = self._under_way()
            if not self._reach(attempt, fault):
                continue
            since_s = self._elapsed_s
            if INJURIES[fault.kind](self._scene(attempt), fault):
                self._moments.append((since_s, fault.kind))
                self._injected[fault.kind] += 1
                self._mark = self._steps.total()
                return True
        return False

    def _scene(self, attempt: Sweeping) -> Scene:
        name = self._sweeps[-1]

        def beside(what: str, *options: str) -> Sweeping:
            self._seconds += 1
            folder = self._folder / f"second-{self._seconds}"
            folder.mkdir()
            of = str(self._folder / f"{name}.yaml") if what == "run" else name
            self._moments.append((self._elapsed_s, " ".join(["beside it:", what, *options])))
            second = Sweeping([what, of, "--store", self._place.uri, *options], folder, self._environment)
            self._family.waited_for.add(second.process.pid)
            return second

        def follow(second: Sweeping) -> None:
            self._attempt = second

        def too_many(what: str) -> None:
            self._too_many[what] += 1
            self._moments.append((self._elapsed_s, what))

        sweep = SweepStore(open_objects(self._place.own_uri), name)
        return Scene(attempt, self._family, self._place, sweep, beside, follow, too_many)

    def _under_way(self) -> Sweeping:
        """The command that runs, or a new one: of the sweep that is not finished, or of the next."""
        if self._attempt is not None and self._attempt.process.poll() is None:
            return self._attempt
        if self._attempt is None or self._attempt.process.returncode == 0:
            self._sweeps.append(f"sweep-{len(self._sweeps) + 1}")
        else:
            self._resumes += 1
        name = self._sweeps[-1]
        (self._folder / f"{name}.yaml").write_text(self._sweep.spec(name))
        known = SweepStore(open_objects(self._place.own_uri), name).exists()
        what = ["resume", name] if known else ["run", f"{name}.yaml"]
        self._mark = self._steps.total()
        self._moments.append((self._elapsed_s, " ".join(what)))
        self._attempt = Sweeping([*what, "--store", self._place.uri], self._folder, self._environment)
        self._family.waited_for.add(self._attempt.process.pid)
        return self._attempt

    def _reach(self, attempt: Sweeping, fault: Fault) -> bool:
        """Wait for a fault's moment; return whether the command has not ended before."""
        if fault.at_work:
            trains = self._family.until(
                lambda: attempt.process.poll() is not None or self._steps.total() > self._mark, HUNG_S
            )
            if not trains:
                self._give_up(attempt)
        with contextlib.suppress(subprocess.TimeoutExpired):
            attempt.process.wait(fault.after_s)
        return attempt.process.poll() is None

    def _complete(self) -> None:
        """Let the last sweep end, resumed as often as it takes, within bounds."""
        for _ in range(MOST_RESUMES + 1):
            attempt = self._under_way()
            seen, since = self._steps.total(), time.monotonic()
            while attempt.process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    attempt.process.wait(1.0)
                if self._steps.total() > seen:
                    seen, since = self._steps.total(), time.monotonic()
                elif time.monotonic() - since > HUNG_S:
                    self._give_up(attempt)
            if attempt.process.returncode == 0:
                return

    def _effects(self, results: Sequence[Results]) -> Mapping[str, int]:
        """What shows that faults of the quiet kinds did something."""
        effects: dict[str, int] = {}
        if self._place.proxy is not None:
            effects |= {f"request: {answer.value}": n for answer, n in self._place.proxy.answers.items()}
        if self._place.clock is not None:
            ended = pd.concat([found.runs["finished_at"] for found in results])
            effects["row with a wrong time"] = int((~ended.between(self._began_at, datetime.now(UTC))).sum())
        return effects

    def _give_up(self, attempt: Sweeping) -> None:
        """A command that does nothing any more: what an operator would do."""
        self._hung += 1
        self._moments.append((self._elapsed_s, "given up as hung"))
        self._family.kill(HUNG_S)
        attempt.process.wait()

    def _orphans(self) -> list[str]:
        """What does not end by itself after the last command has."""
        self._family.until(lambda: not self._family.alive(), ORPHANS_END_S)
        return [process.name() for process in self._family.alive()]


def _own_folders(folder: Path) -> Mapping[str, str]:
    """Where Ray leaves its files: they go with the folder."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {"TMPDIR": str(temporary), "RAY_TMPDIR": str(temporary)}


def _complaints(log: str) -> Mapping[str, int]:
    """The errors that commands ended with, without what tells one from another, and how often."""
    lines = [line for line in log.splitlines() if line.startswith(("error: ", "Traceback"))]
    return Counter(re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{4,}\b|\d+", "#", line) for line in lines)
