"""What `paper/all` trains, by shape, for machines that cannot read the preset: `python -m tests.bench.paper_all`.

Writes `paper_all.json`; that it agrees with the preset is a test.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from grok_sweeps.config import RunConfig
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.estimate import expected_steps

FILE = Path(__file__).with_name("paper_all.json")


def groups() -> list[dict[str, Any]]:
    """Runs of one stage and of equal tensor shapes: a free run like them, and how many take how many steps."""
    from grok_sweeps.spec import load_spec

    spec, _ = load_spec("paper/all")
    found: dict[tuple[Any, ...], list[RunConfig]] = defaultdict(list)
    for run in make_plan(spec).runs:
        found[run.stage, *run.config.shape].append(run.config)
    return [
        {
            "stage": key[0],
            "config": members[0].control().to_dict(),
            "runs": len(members),
            "steps": sorted(Counter(expected_steps(config) for config in members).items(), reverse=True),
        }
        for key, members in found.items()
    ]


def text() -> str:
    """The file's content: one line a group."""
    lines = ",\n".join(json.dumps(group, sort_keys=True) for group in groups())
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    FILE.write_text(text())
