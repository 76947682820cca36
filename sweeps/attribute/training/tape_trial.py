"""A Tune trial: one training, recorded as a tape, followed by the panel on the way where that is requested for."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ray import tune

from attrib_core.devices import describe_device
from attrib_core.training import Tape, TapeHeader, runs_on
from sweeps.attribute.training.grid import TrainingInputs, Trial
from sweeps.attribute.training.panel import follow
from sweeps.attribute.training.segment_job import SegmentJob, SegmentJobSettings
from sweeps.attribute.training.segment_rows import SegmentAxes
from sweeps.plan import Shard

ATTEMPT = 1  # Ray Tune restarts a trial without saying so

# By trial and segment: what can be committed as the training passes.
Passing = Mapping[str, Mapping[int, tuple[Shard, ...]]]


class TapeTrial(tune.Trainable):
    """One training after another, a segment a step; a trial that was killed goes on from its last checkpoint."""

    _digest: str  # of the weights at the last checkpoint

    def setup(  # type: ignore[override]  # `tune.with_parameters` adds what the base class does not know
        self,
        config: dict[str, Any],
        settings: SegmentJobSettings,
        inputs: TrainingInputs,
        passing: Passing,
        check_node: Callable[[], None],
    ) -> None:
        """Build the job, once in an actor, from what `tune.with_parameters` put into the object store."""
        check_node()
        self._job, self._passing = SegmentJob(settings, inputs), passing
        self._device = describe_device(self._job.training_execution.device, settings.precision)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next training, in the same actor."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a segment and record the state at its end."""
        trainer, header = self._trainer, self._tape.header
        shards = self._passing.get(self._trial.name, {}).get(trainer.step // header.segment, ())
        followers = [self._job.follower(SegmentAxes.of(shard), self._classifier) for shard in shards]
        loss = follow(trainer, min(trainer.step + header.segment, trainer.num_steps), followers)
        begin_digest, self._digest = self._digest, self._tape.write(trainer)
        for shard, follower in zip(shards, followers, strict=True):
            followed = self._job.followed_shard(shard, [follower.finish()], begin_digest)
            self._job.commit(followed, ATTEMPT)
        return {
            "num_updates": trainer.step,
            "loss": loss,
            "num_shards": len(shards),
            "device": self._device,
            "done": trainer.step == trainer.num_steps,
        }

    def _begin(self, config: dict[str, Any]) -> None:
        job = self._job
        self._trial = job.inputs.trials[config["trial"]]
        self._tape = open_or_begin(job, self._trial)
        torch.set_num_threads(self._tape.header.threads)
        self._trainer = job.inputs.trainer(self._trial, job.training_execution)
        self._classifier = job.live_classifier(self._trial, self._trainer)
        self._digest = self._tape.resume(self._trainer)


def open_or_begin(job: SegmentJob, trial: Trial) -> Tape:
    """Return the trial's tape. Raises ValueError where the tape of another training lies in its place."""
    requested = job.inputs.header(trial, **runs_on(job.training_execution, job.settings.threads))
    tape = Tape.open(job.run.files, trial.tape_folder)
    if tape is None:
        return Tape.begin(job.run.files, trial.tape_folder, requested)
    refuse_other_training(tape.header, requested, trial)
    return tape


def refuse_other_training(recorded: TapeHeader, requested: TapeHeader, trial: Trial) -> None:
    """Raise a ValueError that names the field in which a recorded training differs from the requested one."""
    if difference := recorded.difference(requested):
        raise ValueError(
            f"{trial.tape_folder}: the tape is of another training: {difference}; choose another --output"
        )
