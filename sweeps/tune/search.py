"""Ray Tune over the configurations of a recipe search: starts trials, stops the poor ones early, reports."""

import time
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler

from cluster.pool import PoolOptions
from sweeps.actor_device import DevicesSeen
from sweeps.generate.job import Weights
from sweeps.progress import Progress
from sweeps.ray_tune import run_tune, tracebacks
from sweeps.store import RunDirectory
from sweeps.tune.trial import Search, Trial

# Of the configurations that reach a rung (1, 3, 9 ... chunks), about one in three goes on.
REDUCTION_FACTOR = 3


@dataclass
class Outcome:
    """What became of the configurations: names of those that were decided, and of those that failed."""

    decided: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


def run_trials(
    search: Search, weights: Weights, workers: PoolOptions, time_budget: float | None, progress: Progress
) -> Outcome:
    """Run the configurations until each is finished, stopped or failed, or the budget (seconds) spent."""
    deadline = None if time_budget is None else time.monotonic() + time_budget
    outcome = Outcome()
    report = _Report(search, progress, outcome, deadline)
    resources = {"cpu": workers.cpus_per_worker, "gpu": workers.gpus_per_worker}
    trainable = tune.with_parameters(Trial, search=search, weights=weights)
    config = tune.TuneConfig(
        metric="accuracy",
        mode="max",
        scheduler=_scheduler(search),
        reuse_actors=True,
        max_concurrent_trials=workers.num_workers,
        time_budget_s=time_budget,
    )
    space = {"recipe": tune.grid_search(list(search.shards))}
    run_tune(tune.with_resources(trainable, resources), space, config, report, workers.max_attempts - 1)
    return outcome


def _scheduler(search: Search) -> ASHAScheduler:
    num_chunks = max(len(shards) for shards in search.shards.values())
    return ASHAScheduler(
        time_attr="num_chunks", max_t=num_chunks, grace_period=1, reduction_factor=REDUCTION_FACTOR
    )


class _Report(tune.Callback):
    """Turns Tune's events into progress, one line a trial, and records of what failed."""

    def __init__(self, search: Search, progress: Progress, outcome: Outcome, deadline: float | None) -> None:
        self._search, self._progress, self._outcome, self._deadline = search, progress, outcome, deadline
        self._run = RunDirectory(search.settings.output)
        self._devices = DevicesSeen(self._run, progress.log)
        self._failures = set(self._run.failures())
        self._reported: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune stores its callbacks for a restore of its own, which this search does without."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Count a chunk that was committed."""
        shard_id = self._chunk_id(trial, result["num_chunks"] - 1)
        if shard_id in self._reported:  # a restarted trial begins at its first chunk again
            return
        self._reported.add(shard_id)
        if shard_id in self._failures:
            self._run.clear_failure(shard_id)
        if result["new_images"]:
            self._devices.add(result["device"])
            self._progress.commit(f"{result['hostname']}:{result['pid']}", result["new_images"], shard_id)
        else:
            self._progress.skip()

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Report a trial that has seen all classes, was stopped for being behind, or ran out of time."""
        result, name = trial.last_result, trial.config["recipe"]
        missing = len(self._search.shards[name]) - result.get("num_chunks", 0)
        if missing and self._deadline is not None and time.monotonic() >= self._deadline:
            return
        self._outcome.decided.add(name)
        self._progress.drop(missing)
        stopped = f", stopped with {missing} chunks to go" if missing else ""
        self._progress.log(f"{name}: {result['correct']} of {result['count']} correct{stopped}")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record the chunk at which a trial failed as often as it may."""
        name, done = trial.config["recipe"], trial.last_result.get("num_chunks", 0)
        shard_id = self._chunk_id(trial, done)
        error = tracebacks(trial)
        self._run.quarantine(shard_id, {"attempts": trial.num_failures, "traceback": error})
        self._outcome.failed.add(name)
        self._progress.quarantine(shard_id)
        self._progress.drop(len(self._search.shards[name]) - done - 1)
        self._progress.log(f"{name} failed {trial.num_failures} times: {error.strip().splitlines()[-1]}")

    def _chunk_id(self, trial: TuneTrial, chunk: int) -> str:
        return self._search.shards[trial.config["recipe"]][chunk].id
