"""One Ray Tune trial is one pack: a class Trainable around `PackTrainer`.

The trial is started with the pack's id alone and finds everything else in the store, also after its worker was killed,
so Tune's own checkpoints are not used. SIGTERM (a preempted node) leads to a checkpoint before the end; without the
handler it would be a kill.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import warnings
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray import tune

from grok_sweeps.errors import StoreError, StoreWarning
from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore, open_objects

if TYPE_CHECKING:
    from grok_sweeps.train.pack import PackTrainer

REPORT_EVERY_S = 1.0


class PackTrial(tune.Trainable):
    """Trains pack `config["pack"]` of sweep `config["sweep"]` in store `config["store"]`, on `config["bundle"]`."""

    _trainer: PackTrainer | None = None
    _notes: list[str]
    _stopping = False
    _stepping = False

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The bundle that the driver put beside the pack's id."""
        return tune.PlacementGroupFactory([config["bundle"]])

    def setup(self, config: dict[str, Any]) -> None:
        """Start the pack from whatever the store has of it."""
        self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another pack in the same worker."""
        self._leave()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a second and report a summary of the pack."""
        assert self._trainer is not None
        self._stepping = True
        try:
            summary = self._trainer.advance(REPORT_EVERY_S, stop=lambda: self._stopping)
        except StoreError as error:  # another worker would meet the same store: end the trial, tell the driver why
            self._trainer = None
            return {"store_error": str(error), "done": True}
        finally:
            self._stepping = False
        if self._stopping:
            sys.exit(128 + signal.SIGTERM)
        notes, self._notes = self._notes + self._trainer.notes, []
        self._trainer.notes.clear()
        return {**summary.to_dict(), "notes": notes}

    def cleanup(self) -> None:
        """Write the lanes' states and give the signal handler back: it would swallow Ray's own stop."""
        self._leave()
        signal.signal(signal.SIGTERM, self._previous_handler or signal.SIG_DFL)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: states are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: states are in the store."""

    def _start(self, config: dict[str, Any]) -> None:
        import torch  # here, since the driver imports this module too and never trains

        from grok_sweeps.train.engine import choose_engine
        from grok_sweeps.train.pack import PackTrainer
        from grok_sweeps.train.work import load_work

        store = SweepStore(open_objects(config["store"]), config["sweep"])
        work, content = load_work(store, config["pack"])
        device = torch.device(content["device"])
        torch.set_num_threads(content["threads"])
        attempt = secrets.token_hex(4)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StoreWarning)
            self._trainer = PackTrainer(
                store, work, attempt, choose_engine(content["engine"], device), provenance(content["git_sha"])
            )
        self._notes = [str(w.message) for w in caught if issubclass(w.category, StoreWarning)]

    def _leave(self) -> None:
        trainer, self._trainer = self._trainer, None
        if trainer is not None and not trainer.done:
            with contextlib.suppress(StoreError):  # the older state stays
                trainer.checkpoint()

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._stepping:
            self._stopping = True
            return
        self._leave()
        sys.exit(128 + signum)
