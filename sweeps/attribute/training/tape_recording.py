"""Records the tapes that a sweep's shards read: Ray Tune over the trainings that are not complete yet."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from attrib_core.training import Tape
from cluster.pool import PoolOptions, headline
from sweeps.actor_device import DevicesSeen
from sweeps.attribute.training.grid import TrainingInputs, Trial
from sweeps.attribute.training.panel_pass import ONE_PASS_METHODS
from sweeps.attribute.training.segment_job import SegmentJobSettings
from sweeps.attribute.training.segment_rows import SegmentAxes
from sweeps.attribute.training.tape_trial import Passing, TapeTrial, refuse_other_training
from sweeps.plan import Shard
from sweeps.ray_tune import run_tune, tracebacks
from sweeps.store import RunDirectory
from sweeps.sweep import Preparation

Log = Callable[[str], None]
SECONDS_BETWEEN_LINES = 10.0


def refuse_other_tapes(run: RunDirectory, inputs: TrainingInputs) -> None:
    """Raise ValueError for a tape of another training in a trial's place, and for one that cannot be read."""
    for trial in inputs.trials.values():
        tape = Tape.open(run.files, trial.tape_folder)
        if tape is not None:
            requested = inputs.header(trial, **tape.header.runs_on)
            refuse_other_training(tape.header, requested, trial)


def _incomplete(run: RunDirectory, inputs: TrainingInputs) -> list[Trial]:
    """Return the trials whose tapes are not complete."""
    tapes = {trial: Tape.open(run.files, trial.tape_folder) for trial in inputs.trials.values()}
    return [trial for trial, tape in tapes.items() if tape is None or not tape.is_complete]


def record_tapes(settings: SegmentJobSettings, inputs: TrainingInputs, preparation: Preparation) -> None:
    """Complete all tapes. Cheap shards are computed and committed while the training is recorded."""
    trials = _incomplete(RunDirectory(settings.output), inputs)
    if not trials:
        return
    workers, log = preparation.workers, preparation.log
    passing = _passing(preparation.shards, trials, workers, is_scored=bool(settings.follow.scores))
    log(
        f"training: {len(trials)} of {len(inputs.trials)} tapes are to be recorded in {settings.output}/tapes/"
    )
    trainable = tune.with_parameters(
        TapeTrial,
        settings=settings,
        inputs=inputs,
        passing=passing,
        check_node=preparation.check_node,
    )
    resources = {"cpu": workers.cpus_per_worker, "gpu": workers.gpus_per_worker}
    config = tune.TuneConfig(reuse_actors=True, max_concurrent_trials=workers.num_workers)
    space = {"trial": tune.grid_search([trial.name for trial in trials])}
    devices = DevicesSeen(RunDirectory(settings.output), log)
    report = _Report({trial.name: inputs.num_steps(trial) for trial in trials}, devices, log)
    run_tune(tune.with_resources(trainable, resources), space, config, report, workers.max_attempts - 1)


def _passing(
    shards: Iterable[Shard], trials: Sequence[Trial], workers: PoolOptions, *, is_scored: bool
) -> Passing:
    """Return the shards that are better computed while their segment is recorded than from the tape.

    With as many trainings as workers no worker is left to play tapes meanwhile; and what costs less than the
    training itself is cheaper than to train again.
    """
    is_full = len(trials) >= workers.num_workers
    names = {trial.name for trial in trials}
    passing: dict[str, dict[int, tuple[Shard, ...]]] = {}
    for shard in shards:
        axes = SegmentAxes.of(shard)
        is_cheap = ONE_PASS_METHODS.issuperset(axes.methods) and not is_scored
        if axes.trial in names and len(axes.segments) == 1 and (is_full or is_cheap):
            [segment] = axes.segments
            by_segment = passing.setdefault(axes.trial, {})
            by_segment[segment] = (*by_segment.get(segment, ()), shard)
    return passing


class _Report(tune.Callback):
    """Turns Tune's events into lines."""

    def __init__(self, num_steps: dict[str, int], devices: DevicesSeen, log: Log) -> None:
        self._num_steps, self._devices, self._log = num_steps, devices, log
        self._last_line = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune stores its callbacks for a restore of its own, which the tapes do without."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Report a segment that was recorded, not too often."""
        name = trial.config["trial"]
        self._devices.add(result["device"])
        if result["done"] or time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            done, num_steps = result["num_updates"], self._num_steps[name]
            loss = "" if result["loss"] is None else f", loss {result['loss']:.4f}"
            self._log(f"training: {name}: {done} of {num_steps} updates{loss}")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Report a training that failed as often as it may. The shards behind its last checkpoint fail later."""
        name = trial.config["trial"]
        self._log(f"training: {name} failed {trial.num_failures} times: {headline(tracebacks(trial))}")
