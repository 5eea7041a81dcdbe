"""Names of the objects of one sweep. Object names of one writer carry its attempt, so two never collide.

```
<sweep>/spec.yaml  plan.parquet  calibration.json  status.json  job.json  stop.json
        lease.json                        who drives, and the fence number
        packs/<pack>.json                 the runs of a pack and how to train them
        checkpoints/<pack>/<seq>.safetensors
        states/<run_id>@<step>.safetensors      final states of runs that spent their budget: forks and extensions
        rows/<pack>-<seq>.parquet         curves/<pack>-<seq>.parquet     <seq> or <seq>_<last number>: segments
        log/<driver>.txt                  what each driver said
        analysis/
```
`<seq>` is `<attempt>-<number>`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """Object names of the sweep `sweep`."""

    sweep: str

    @property
    def spec(self) -> str:
        return f"{self.sweep}/spec.yaml"

    @property
    def plan(self) -> str:
        return f"{self.sweep}/plan.parquet"

    @property
    def calibration(self) -> str:
        return f"{self.sweep}/calibration.json"

    @property
    def compacting(self) -> str:
        """What the names of claims begin with that earlier versions made to compact, and may have left behind."""
        return f"{self.sweep}/compacting"

    @property
    def lease(self) -> str:
        return f"{self.sweep}/lease.json"

    @property
    def status(self) -> str:
        return f"{self.sweep}/status.json"

    @property
    def job(self) -> str:
        return f"{self.sweep}/job.json"

    @property
    def stop(self) -> str:
        return f"{self.sweep}/stop.json"

    @property
    def logs(self) -> str:
        return f"{self.sweep}/log"

    @property
    def rows(self) -> str:
        return f"{self.sweep}/rows"

    @property
    def curves(self) -> str:
        return f"{self.sweep}/curves"

    @property
    def checkpoints(self) -> str:
        return f"{self.sweep}/checkpoints"

    @property
    def packs(self) -> str:
        return f"{self.sweep}/packs"

    @property
    def states(self) -> str:
        return f"{self.sweep}/states"

    def pack(self, pack_id: str) -> str:
        return f"{self.packs}/{pack_id}.json"

    def log(self, driver: str) -> str:
        return f"{self.logs}/{driver}.txt"

    def row_file(self, pack_id: str, attempt: str, first: int, last: int | None = None) -> str:
        return f"{self.rows}/{_segment(pack_id, attempt, first, last)}"

    def curve_file(self, pack_id: str, attempt: str, first: int, last: int | None = None) -> str:
        return f"{self.curves}/{_segment(pack_id, attempt, first, last)}"

    def checkpoint(self, pack_id: str, attempt: str, number: int) -> str:
        return f"{self.checkpoints}/{pack_id}/{attempt}-{number:06d}.safetensors"

    def state(self, run_id: str, step: int) -> str:
        return f"{self.states}/{run_id}@{step}.safetensors"

    @staticmethod
    def is_kept_state(name: str) -> bool:
        """Whether the object of any sweep is a final state, and no checkpoint."""
        return name.split("/")[1] == "states"

    def analysis(self, file: str) -> str:
        return f"{self.sweep}/analysis/{file}"


def _segment(pack_id: str, attempt: str, first: int, last: int | None) -> str:
    return f"{pack_id}-{attempt}-{first:06d}{'' if last is None else f'_{last:06d}'}.parquet"
