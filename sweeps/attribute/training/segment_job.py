"""The actor's side of attribution along training: plays segments of tapes and follows the panel."""

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from attrib_core.classifiers import Classifier
from attrib_core.execution import Precision, choose_execution
from attrib_core.live_classifier import live_classifier
from attrib_core.tape import Tape, TapeError
from attrib_core.training import Trainer
from sweeps.attribute.training.grid import TrainingInputs, Trial
from sweeps.attribute.training.panel import Followed, Follower, FollowSettings, Panel, follow
from sweeps.attribute.training.segment_rows import FollowedShard, image_table, result_table
from sweeps.plan import Shard
from sweeps.store import RunDirectory


@dataclass(frozen=True, kw_only=True)
class SegmentJobSettings:
    """What an actor needs to know; trials and data come apart from it, through the object store.

    A shard brings the methods of its own. Training is in float32, on `threads` CPU threads; `precision` is that
    of the attributions.
    """

    output: str
    follow: FollowSettings
    precision: Precision
    threads: int
    device: str | None = None


class SegmentJob:
    """Plays a shard's segments and stores what the panel showed; lives as long as its actor."""

    def __init__(self, settings: SegmentJobSettings, inputs: TrainingInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self.training_execution = choose_execution(settings.device)
        self._execution = choose_execution(settings.device, settings.precision)
        self._panels: dict[tuple[str, tuple[int, ...]], Panel] = {}

    def compute(self, shard: Shard) -> FollowedShard:
        """Plays the segments from the tape; TapeError where one does not end in the recorded state."""
        trial = self.trial(shard)
        tape = self._open(trial)
        trainer = self.inputs.trainer(trial, self.training_execution)
        classifier = self.live_classifier(trial, trainer)
        segments: list[Followed] = []
        digests: list[str] = []
        for (segment,) in shard.cells:
            start = int(segment) * tape.header.segment
            digests.append(tape.restore(trainer, start))
            follower = self.follower(shard, classifier)
            follow(trainer, min(start + tape.header.segment, trainer.num_steps), [follower])
            tape.check(trainer)
            segments.append(follower.finish())
        return self.followed_shard(shard, segments, digests[0])

    def commit(self, followed: FollowedShard, attempt: int) -> dict[str, Any]:
        """Stores the panel and commits the rows; the summary says whether this attempt won."""
        shard, start = followed.shard, time.perf_counter()
        image_file = None
        if followed.has_rows:
            image_file = self.run.put_images(shard.id, attempt, image_table(followed))
        dataset = self.inputs.data[followed.trial.dataset].panel
        won = self.run.commit(shard.id, result_table(followed, dataset, image_file, attempt), image_file)
        return {"won": won, "cells": len(shard.cells), "commit_seconds": time.perf_counter() - start}

    def live_classifier(self, trial: Trial, trainer: Trainer) -> Classifier:
        """The trainer's network as the panel sees it."""
        class_names = self.inputs.data[trial.dataset].train.class_names
        return live_classifier(trainer.network, trial.model, class_names, self._execution)

    def trial(self, shard: Shard) -> Trial:
        """The training that a shard is of."""
        return self.inputs.trials[shard.axes["trial"]]

    def follower(self, shard: Shard, classifier: Classifier) -> Follower:
        """What follows the panel of a shard by its methods."""
        return Follower(classifier, self._panel(shard), self._follow_settings(shard), self._execution)

    def followed_shard(self, shard: Shard, segments: list[Followed], weights_digest: str) -> FollowedShard:
        """A shard that is ready for `commit`."""
        return FollowedShard(
            shard=shard,
            trial=self.trial(shard),
            settings=self._follow_settings(shard),
            panel=self._panel(shard),
            segments=segments,
            weights_digest=weights_digest,
        )

    @cached_property
    def run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    def _open(self, trial: Trial) -> Tape:
        tape = Tape.open(self.run.files, trial.tape_folder)
        if tape is None:
            raise TapeError(f"{trial.tape_folder}: there is no tape; the training has not been recorded")
        device = self.training_execution.device.type
        if tape.header.device != device:
            raise TapeError(
                f"{trial.tape_folder}: recorded on {tape.header.device}, this worker has {device}"
            )
        torch.set_num_threads(tape.header.threads)
        return tape

    def _panel(self, shard: Shard) -> Panel:
        trial = self.trial(shard)
        indices = tuple(int(index) for index in shard.axes["image_index"])
        if (trial.name, indices) not in self._panels:
            dataset = self.inputs.data[trial.dataset].panel
            panel = Panel.read(dataset, indices, self.inputs.view(trial), self._execution)
            self._panels[trial.name, indices] = panel
        return self._panels[trial.name, indices]

    def _follow_settings(self, shard: Shard) -> FollowSettings:
        return replace(self.settings.follow, methods=tuple(map(str, shard.axes["method"])))
