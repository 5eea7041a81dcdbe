"""Where a sweep's folder, its `spec.yaml` and its plan disagree: one line each, and which of them counts.

The folder's name is the sweep's name, so a folder may be renamed or copied. The plan says which runs the sweep has, so
an edited `spec.yaml` changes no run; what its `execution` says is heeded.
"""

from __future__ import annotations

import warnings

from grok_sweeps.errors import GrokSweepsError, StoreWarning
from grok_sweeps.plan.plan import Plan, make_plan
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.store.sweep import SweepStore


def warn_of_name(store: SweepStore) -> None:
    """Warn where the stored spec has another name than its folder."""
    try:
        spec = store.load_spec()
    except GrokSweepsError:
        return  # the caller that needs the spec reports the error
    if spec is not None and spec.name != store.sweep:
        _warn(
            f"sweep '{store.sweep}': its spec.yaml says `name: {spec.name}`. A sweep's name is its folder's: "
            f"'{store.sweep}' counts. Write `name: {store.sweep}` there, or rename the folder back."
        )


def warn_of_runs(store: SweepStore, plan: Plan) -> None:
    """Warn where the stored spec cannot be read or gives other runs than the sweep's plan, which counts."""
    address = store.objects.address(store.layout.spec)
    try:
        spec = store.load_spec()
        wanted = None if spec is None else make_plan(spec, stored_ancestry(store.objects)).run_ids()
    except GrokSweepsError as error:
        if not str(error).startswith("fork.of:"):  # what a fork names may be gone: the plan has all that it needs
            _warn(f"{address}: cannot be read. The sweep's plan counts; restore the file. {error}")
        return
    stored = plan.run_ids()
    if wanted is not None and wanted != stored:
        _warn(
            f"{address}: gives other runs than the sweep's plan ({len(wanted - stored):,} more, "
            f"{len(stored - wanted):,} missing). The plan counts, an edited spec does not change it: restore the file, "
            "or run the edited spec under another name."
        )


def _warn(text: str) -> None:
    """Always from here, so that Python shows a line once."""
    warnings.warn(text, StoreWarning, stacklevel=1)
