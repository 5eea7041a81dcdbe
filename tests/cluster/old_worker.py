"""A worker whose node was given up: trains a pack of the store to its end, whatever has happened to the sweep since.

`python old_worker.py STORE SWEEP PACK ATTEMPT`
"""

from __future__ import annotations

import sys

import torch

from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import load_work


def main(uri: str, sweep: str, pack_id: str, attempt: str) -> None:
    torch.set_num_threads(1)
    store = SweepStore(open_objects(uri), sweep)
    work, content = load_work(store, pack_id)
    trainer = PackTrainer(store, work, attempt, choose_engine(content["engine"], torch.device("cpu")), provenance(None))
    while not trainer.advance(0.2).done:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
