"""One Ray Tune trial is one attempt at a pack: a class Trainable around `PackTrainer`.

The trial is started with the pack's id alone and finds everything else in the store, also after its worker was killed,
so Tune's own checkpoints are not used. SIGTERM, SIGINT and SIGHUP lead to a checkpoint before the end; without the
handler they would be a kill. So does a node that Ray drains, since it is about to be preempted: the pack is handed
back.

What can go wrong is told to the driver as a value: a store that cannot be written, or an engine that does not work
here, is the machine's; any other exception is the pack's own. Either way the worker is not used again, since what has
failed once may fail the next pack too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ray import tune

from grok_sweeps.cluster.ray_state import drains, this_node
from grok_sweeps.cluster.stop_request import is_requested
from grok_sweeps.errors import EngineError, GrokSweepsError, LeaseLostError, StoreError, StoreWarning
from grok_sweeps.provenance import provenance
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.lease import check_fence
from grok_sweeps.train.failed import one_line, write_failed
from grok_sweeps.train.work import PackWork, load_work

if TYPE_CHECKING:
    from grok_sweeps.train.pack import PackTrainer

REPORT_EVERY_S = 1.0
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals on which the states are written before the end."""
ANSWER_S = 2.0
"""Longest wait for Ray to say whether a stop was requested."""
UNCALLED_S = 2.0
"""How long a worker whose states are written waits to be called for its end."""
MOST_TOLD = 4
"""Runs that a message names."""


class PackTrial(tune.Trainable):
    """Trains pack `config["pack"]` of sweep `config["sweep"]` in store `config["store"]`.

    It takes `config["bundle"]`, on none of the nodes `config["avoid"]`.
    `config["stop_request"]` names the request that ends it early; with `config["is_last"]` the pack's one run fails if
    it raises without having got on. `config["fence"]`, if there is one, is that of the driver's lease.
    """

    _trainer: PackTrainer | None = None
    _work: PackWork | None = None
    _objects: ObjectStore | None = None
    _content: dict[str, Any]
    _attempt: str
    _notes: list[str]
    _stopping = False
    _busy = False
    """Whether a signal has to wait: it trains, or writes states."""
    _begun = False
    _spent = False

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The bundle that the driver put beside the pack's id."""
        avoid = config.get("avoid")
        elsewhere = {"bundle_label_selector": [{"ray.io/node-id": f"!in({','.join(avoid)})"}]} if avoid else {}
        return tune.PlacementGroupFactory([config["bundle"]], **elsewhere)

    def setup(self, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Take on a pack; the first step begins it, so that what takes long there is seen to take long."""
        self._previous_handlers = {number: signal.signal(number, self._on_signal) for number in STOPS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        self._requests = ThreadPoolExecutor(1, "requests")
        self._asking: Future[tuple[bool, bool]] | None = None
        self._notes = []
        self._node = this_node()

    def reset_config(self, new_config: dict[str, Any]) -> bool:  # noqa: ARG002
        """Take on another pack in the same worker."""
        self._notes = self._leave()
        self._work, self._begun = None, False
        return True

    def step(self) -> dict[str, Any]:
        """Train for a second and report a summary of the pack; the last one once a stop was requested.

        Raises:
            RuntimeError: an exception was reported; Tune is to end this worker.
        """
        if self._stopping:
            self._end()
        if self._spent:
            raise RuntimeError("this worker is not used again")
        asked, leaving = self._ask()
        try:
            if not self._begun and not asked:
                self._begin()
            if self._trainer is None:
                return {"stopped": True, "done": True}
            self._busy = True
            summary = self._trainer.advance(REPORT_EVERY_S, stop=lambda: asked or leaving or self._stopping)
        except LeaseLostError as error:
            return self._superseded(error)
        except GrokSweepsError as error:  # of the store or the machine, not of the pack
            return self._unusable(error)
        except Exception as error:
            return self._raised(error)
        finally:
            self._busy = False
        if self._stopping and not (summary.stopped or summary.done):  # it came after the last look
            self._end()
        notes, self._notes = self._notes + self._trainer.notes, []
        self._trainer.notes.clear()
        if summary.stopped:  # the states are written; after a signal the next call is the end
            self._trainer = None
            if self._stopping:
                _end_soon()
        self._spent = leaving and not summary.done and not asked
        return {
            **summary.to_dict(),
            "notes": notes,
            "node": self._node,
            "preempted": self._spent,
            "stopped": not summary.done,
            "done": asked or summary.done,
        }

    def cleanup(self) -> None:
        """Write the lanes' states and give the signal handler back: it would swallow Ray's own stop."""
        for note in self._leave():
            print(note, file=sys.stderr)  # nobody asks this worker again
        self._requests.shutdown(wait=False, cancel_futures=True)
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: states are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: states are in the store."""

    def _begin(self) -> None:
        """Start the pack from whatever the store has of it."""
        self._begun = True
        self._attempt = secrets.token_hex(4)
        self._trainer = self._new_trainer()

    def _new_trainer(self) -> PackTrainer:
        store = self._store()
        check_fence(store, self._fence)
        self._work, self._content = load_work(store, self.config["pack"])

        import torch  # here, since the driver imports this module too and never trains

        from grok_sweeps.train.engine import choose_engine
        from grok_sweeps.train.fused import FusedUnavailableError
        from grok_sweeps.train.memory import shared_meter
        from grok_sweeps.train.native import NativeBuildError
        from grok_sweeps.train.pack import PackTrainer

        device = torch.device(self._content["device"])
        torch.set_num_threads(self._content["threads"])
        who = {**provenance(self._content["git_sha"]), "gpu_share": self.config["bundle"].get("GPU")}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StoreWarning)
            try:
                engine = choose_engine(self._content["engine"], device)
            except (ValueError, NativeBuildError, FusedUnavailableError) as error:
                raise EngineError(
                    f"engine '{self._content['engine']}' does not work here ({one_line(error)}); "
                    "use execution.engine=auto."
                ) from error
            meter = shared_meter(device, self._content["gpus_per_pack"])
            trainer = PackTrainer(store, self._work, self._attempt, engine, who, meter=meter, fence=self._fence)
        self._notes += [str(w.message) for w in caught if issubclass(w.category, StoreWarning)]
        return trainer

    def _raised(self, error: Exception) -> dict[str, Any]:
        """Report an exception; no state is written, since the lanes may stand between a step and its readings."""
        trainer, self._trainer, self._spent = self._trainer, None, True
        why, written = one_line(error), 0
        if trainer is not None:
            with contextlib.suppress(Exception):  # the first error is told
                trainer.finish_writes()
            written = trainer.files_written
        if self.config["is_last"] and not written and self._work is not None:
            columns = {
                **provenance(self._content["git_sha"]),
                "attempt": self._attempt,
                "device": self._content["device"],
                "threads": self._content["threads"],
                "engine": trainer.engine.name if trainer else None,
            }
            record = trainer.record_of(self._work.runs[0].run_id) if trainer else None
            try:
                write_failed(self._store(), self._work, why, record, columns, self._fence)
            except LeaseLostError as lost:
                return self._superseded(lost)
            except StoreError as store_error:
                return self._unusable(store_error)
        return {"raised": why, "files_written": written, "node": self._node}

    def _unusable(self, error: GrokSweepsError) -> dict[str, Any]:
        """Report that no pack gets on here; whether one would elsewhere is the driver's to know."""
        self._trainer, self._spent = None, True
        return {"unusable": str(error), "files_written": 0, "node": self._node}

    def _superseded(self, error: LeaseLostError) -> dict[str, Any]:
        """Report the end of a pack that another driver's workers go on with: nobody is to blame."""
        self._trainer = None
        return {"lease_lost": str(error), "stopped": True, "done": True}

    @property
    def _fence(self) -> int | None:
        fence: int | None = self.config.get("fence")
        return fence

    def _store(self) -> SweepStore:
        if self._objects is None:  # kept from pack to pack: a bucket's client costs more than a short run
            self._objects = open_objects(self.config["store"])
        return SweepStore(self._objects, self.config["sweep"])

    def _ask(self) -> tuple[bool, bool]:
        """Whether a stop was requested, and whether the node is about to go; no to both where nobody answers.

        Ray may wait for a minute where its GCS has died, and no signal would be heeded meanwhile.
        """
        if self._asking is None:
            request, node = self.config["stop_request"], self._node
            self._asking = self._requests.submit(lambda: (is_requested(request), drains(node)))
        try:
            answer = self._asking.result(ANSWER_S)
        except TimeoutError:
            return False, False
        self._asking = None
        return answer

    def _leave(self) -> list[str]:
        """Write the lanes' states; return what is to be told. No failure is the next pack's: the older state stays."""
        busy, self._busy = self._busy, True  # a signal meanwhile must not cut the writing short
        trainer, self._trainer = self._trainer, None
        try:
            if trainer is not None and not trainer.done:
                trainer.checkpoint()
        except Exception as error:
            assert trainer is not None
            lost = [f"run {run_id} {steps:,}" for run_id, steps in trainer.unwritten().items()]
            more = f" and {len(lost) - MOST_TOLD} runs more" if len(lost) > MOST_TOLD else ""
            return [
                f"no state was written at the end of an attempt: {one_line(error)}; "
                f"steps that are trained again: {', '.join(lost[:MOST_TOLD]) or 'none'}{more}"
            ]
        finally:
            self._busy = busy
        return []

    def _end(self) -> NoReturn:
        """Leave after a signal."""
        for note in self._leave():
            print(note, file=sys.stderr)
        _end_soon()
        sys.exit(128 + signal.SIGTERM)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopping = True
        if not self._busy:
            self._end()


def _end_soon() -> None:
    """End this process, also where nobody calls it any more, or Ray hangs: nothing is left to do."""
    timer = threading.Timer(UNCALLED_S, os._exit, [128 + signal.SIGTERM])
    timer.daemon = True
    timer.start()
