"""Break things under small sweeps, and count what was lost: `python -m tests.faults`.

A campaign is one kind of fault on one store; all are compared with one sweep that nobody disturbed. The exit code is 1
if anything was lost, duplicated, different or orphaned.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.compare import Results
from tests.faults.kinds import DIRECTORY, KINDS, S3, STORES, CampaignName, campaigns
from tests.faults.outcome import Outcome, broken, table
from tests.faults.places import impossible, open_place, running_server
from tests.faults.processes import Family, adopt_orphans
from tests.faults.schedule import draw_faults, share_out
from tests.faults.sweeps import SmallSweep
from tests.s3_servers import SeaweedServer

NONE = CampaignName(DIRECTORY, "none")


class Campaigns:
    """All campaigns of a run, one after the other, in a folder of their own; `path` gets what is known after each."""

    def __init__(self, folder: Path, sweep: SmallSweep, seed: int, path: Path | None) -> None:
        self._folder, self._sweep, self._seed, self._path = folder, sweep, seed, path
        self._family = Family()
        self._impossible = impossible(folder)
        self._server: SeaweedServer | None = None
        self._opened = contextlib.ExitStack()
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Campaigns:
        return self

    def __exit__(self, *exc: object) -> None:
        self._opened.close()

    def hold(self, name: CampaignName, n_faults: int, undisturbed: Results | None, until: float) -> Results | None:
        """Hold one; return the results of its first sweep."""
        reason = self._impossible.get(name.kind) or self._impossible.get(name.store)
        if n_faults and time.monotonic() >= until:
            reason = "no time is left"
        if reason is not None:
            self._add(Outcome(name, left_out=reason))
            return None
        if name.store == S3 and self._server is None:
            self._server = self._opened.enter_context(running_server(self._folder / "server", self._family))
        faults = draw_faults(name, n_faults, self._seed, self._impossible)
        folder = self._folder / f"{len(self.outcomes)}"
        folder.mkdir()
        with open_place(name, folder, self._impossible, self._server) as place:
            campaign = Campaign(name, self._sweep, faults, place, self._family, folder, undisturbed, until)
            self._add(campaign.hold())
            return campaign.results()

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        print(f"{outcome.name}: {outcome.n_faults} faults in {outcome.wall_s:.0f} s", file=sys.stderr, flush=True)
        for note, times in outcome.notes.items():
            print(f"  {times} x {note}", file=sys.stderr, flush=True)
        if self._path is not None:
            found = {"seed": self._seed, "campaigns": [outcome.to_json() for outcome in self.outcomes]}
            self._path.write_text(json.dumps(found, indent=1) + "\n")


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--store", choices=[*STORES, "both"], default="both", help="where the sweeps are kept")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="A,B", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--faults", type=int, default=240, metavar="N", help="over all campaigns, at least one each")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of what is injected and when")
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="no more faults after this time")
    parser.add_argument("--seeds-a-cell", type=int, default=3, metavar="N", help="a sweep has ten cells")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found, after every campaign")
    return parser


def main() -> int:
    """Hold the campaigns that are asked for and print their table."""
    parser = options()
    asked = parser.parse_args()
    kinds = tuple(asked.kinds.split(","))
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown kinds {', '.join(sorted(unknown))}; kinds: {', '.join(KINDS)}")
    stores = STORES if asked.store == "both" else (asked.store,)
    names = campaigns(stores, kinds)
    if not names:
        parser.error(f"none of these kinds of fault is one of store {asked.store}")
    shares = share_out(asked.faults, names)
    end = time.monotonic() + 60.0 * asked.minutes
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing is left behind
    with (
        tempfile.TemporaryDirectory(prefix="gsf-", ignore_cleanup_errors=True) as folder,
        Campaigns(Path(folder), SmallSweep(asked.seeds_a_cell), asked.seed, asked.json) as held,
    ):
        undisturbed = held.hold(NONE, 0, None, end)
        for k, name in enumerate(names):
            left_s = end - time.monotonic()
            held.hold(name, shares[name], undisturbed, time.monotonic() + left_s / (len(names) - k))
    print(table(held.outcomes, asked.seed).markdown())
    return 1 if broken(held.outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
