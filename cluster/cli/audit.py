"""audit: train a sample of finished runs again and compare."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Annotated

import typer

from grok_sweeps.cluster.cli.common import StoreOption, SweepArgument, app, console, store_at
from grok_sweeps.cluster.settings import this_machine
from grok_sweeps.errors import QueryError
from grok_sweeps.store.rows import RowLog


@app.command()
def audit(
    sweep: SweepArgument,
    store: StoreOption = None,
    fraction: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the finished runs.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the interruptions.")] = 0,
) -> None:
    """Train a sample of finished runs again, interrupted and resumed, and compare with their rows."""
    from grok_sweeps.train.audit import audit_run, sample

    opened = store_at(store)
    sweep_store = opened.sweep(sweep)
    log = RowLog(sweep_store)
    log.refresh()
    chosen = sample(log.rows, fraction, seed)
    if not chosen:
        raise QueryError(f"audit: sweep '{sweep}' has no finished run to audit; run it first, or raise --fraction.")
    out = console()
    audited = []
    with _workers(this_machine(look_for_gpus=False).cpus) as (pool, folder):
        jobs = [pool.submit(audit_run, opened.uri, sweep, log.rows[run_id], seed, folder) for run_id in chosen]
        for job in jobs:
            found = job.result()
            audited.append(found)
            if found.skipped:
                out.print(f"run {found.run_id}: not audited, {found.skipped}", highlight=False)
            for name, (before, now) in (found.differences or {}).items():
                out.print(
                    f"run {found.run_id}: {name} is {before} in its row and {now} now (interrupted at step "
                    f"{found.interrupted_at:,})",
                    highlight=False,
                )
    trained = [a for a in audited if not a.skipped]
    agree = sum(a.agrees for a in trained)
    out.print(
        f"{agree} of {len(trained)} audited runs agree in outcome and every step; {sum(a.same_bits for a in trained)} "
        f"bit for bit; largest relative difference of a reading at grokking "
        f"{max((a.largest_relative for a in trained), default=0.0):.1e}",
        highlight=False,
    )
    if agree < len(trained) or not trained:
        raise typer.Exit(1)


@contextmanager
def _workers(n: int) -> Iterator[tuple[ProcessPoolExecutor, str]]:
    """Processes, and a folder for what they write; neither is left where a job fails or the command is stopped."""
    previous = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="grok-sweeps-audit-") as folder:
            # Ctrl-C reaches the workers too: that they end is left to this process.
            ignore = (signal.SIGINT, signal.SIG_IGN)
            pool = ProcessPoolExecutor(n, get_context("spawn"), initializer=signal.signal, initargs=ignore)
            try:
                yield pool, folder
            except BaseException:
                for worker in active_children():
                    worker.terminate()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        signal.signal(signal.SIGTERM, previous)
