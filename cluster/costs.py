"""What a plan would cost on the machine here or on a pool of devices, in lines for people."""

from __future__ import annotations

from dataclasses import dataclass, replace

from grok_sweeps.cluster.resources import Resources, choose_resources, stage_packs
from grok_sweeps.cluster.settings import Machine, this_machine
from grok_sweeps.cluster.views import duration, hours
from grok_sweeps.errors import SpecError
from grok_sweeps.plan import Pack, Plan
from grok_sweeps.plan.cost import Cost, cost_of
from grok_sweeps.plan.rates import CPU, Pool, Rates, rates_of
from grok_sweeps.results import Store
from grok_sweeps.results.history import Foreseen, foresee, measured_rates
from grok_sweeps.spec import Execution


@dataclass(frozen=True)
class PlanCost:
    """A plan on a pool: its packs by stage, what is foreseen, and what that costs."""

    pool: Pool
    resources: Resources
    stages: tuple[tuple[Pack, ...], ...]
    foreseen: Foreseen
    rates: Rates
    cost: Cost

    def rows(self, price: float | None = None) -> list[tuple[str, str]]:
        """Label and text of each line; `price` is $ for an hour of one device."""
        known = self.foreseen
        how = "by the rule of thumb"
        if known.accuracy is not None:
            how = f"learned from the store, whose cells were foreseen within {known.accuracy}"
        rows = [("run-steps", f"about {self.cost.run_steps:,}, {how}")]
        if self.cost.device_hours is None or self.cost.wall_s is None:
            why = f"not known: {self.rates.source}; --step-rate gives one, or train a first pack there"
            return [*rows, (self.pool.unit, why), ("time", "not known")]
        rows.append((self.pool.unit, f"about {hours(self.cost.device_hours)}, {self.rates.source}"))
        rows.append(("time", f"about {duration(self.cost.wall_s)} on {self.pool}, without start-up"))
        if price is not None:
            kept = self.cost.wall_s / 3600 * self.pool.devices
            rows.append(
                (
                    "price",
                    f"about ${price * self.cost.device_hours:,.2f} for the {self.pool.unit}, "
                    f"${price * kept:,.2f} if all {self.pool.devices} are kept to the end",
                )
            )
        return rows


def plan_cost(
    plan: Plan, execution: Execution, store: Store, pool: Pool | None = None, step_rate: float | None = None
) -> PlanCost:
    """What `plan` costs on `pool`, or on this machine.

    Args:
        plan: the plan.
        execution: how it is trained.
        store: whose finished sweeps say how long runs take and how fast devices are.
        pool: the devices.
        step_rate: run-steps a second of one device, where the user knows it.

    Raises:
        SpecError: `execution` does not fit the pool.
        StoreError: the store cannot be read.
    """
    resources, pool = _here(execution) if pool is None else (_resources_on(pool, execution), pool)
    stages = tuple(tuple(stage_packs(plan.stage(k), resources)) for k in range(plan.n_stages))
    foreseen = foresee(plan, store)
    share = resources.bundle["CPU" if pool.is_cpu else "GPU"]
    rates = rates_of(pool, share, measured_rates(store), step_rate)
    steps = {run.run_id: n for run, n in zip(plan.runs, foreseen.steps, strict=True)}
    cost = cost_of(stages, steps, workers=resources.workers, share=share, rates=rates)
    return PlanCost(pool, resources, stages, foreseen, rates, cost)


def cost_lines(
    plan: Plan,
    pool: Pool,
    execution: Execution,
    store: Store,
    *,
    price: float | None = None,
    step_rate: float | None = None,
) -> list[str]:
    """The lines of `grok-sweeps plan --cluster` about the cost; see `plan_cost` for arguments and errors."""
    rows = plan_cost(plan, execution, store, pool, step_rate).rows(price)
    return [f"{label}: {text}" for label, text in rows]


def _resources_on(pool: Pool, execution: Execution) -> Resources:
    contradicts = {"cpu": not pool.is_cpu, "cuda": pool.is_cpu}.get(execution.device, False)
    if contradicts:
        raise SpecError(
            f"execution.device: '{execution.device}' does not train on --cluster {pool.devices}x{pool.kind}; "
            "use --set execution.device=auto."
        )
    machine = Machine(pool.devices, 0 if pool.is_cpu else pool.devices)
    all_of_it = choose_resources(execution.model_copy(update={"workers": "auto"}), machine)
    wanted = all_of_it.workers if execution.workers == "auto" else execution.workers
    return replace(all_of_it, workers=min(wanted, all_of_it.workers))


def _here(execution: Execution) -> tuple[Resources, Pool]:
    machine = this_machine(look_for_gpus=execution.device != "cpu")
    resources = choose_resources(execution, machine)
    if resources.device == "cpu":
        return resources, Pool(resources.workers * resources.threads, CPU)
    import torch

    return resources, Pool(machine.gpus, torch.cuda.get_device_name())
