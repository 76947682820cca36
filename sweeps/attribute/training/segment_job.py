"""The actor's side of attribution along training: plays segments of tapes and follows the panel."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from attrib_core.classifiers import Classifier
from attrib_core.execution import Precision, choose_execution
from attrib_core.training import Tape, TapeError, Trainer, live_classifier
from sweeps.attribute.training.grid import TrainingInputs, Trial
from sweeps.attribute.training.panel import Followed, Follower, PanelPasses, follow
from sweeps.attribute.training.panel_pass import FollowSettings, Panel
from sweeps.attribute.training.segment_rows import FollowedShard, SegmentAxes, image_table, result_table
from sweeps.commit import commit_shard
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
        # A device need not load the data set, and capture its work, again for the next shard of the same training.
        self._player: tuple[Trial, Trainer, Classifier] | None = None
        self._passes: dict[SegmentAxes, PanelPasses] = {}
        self._followed: Classifier | None = None

    def compute(self, shard: Shard) -> FollowedShard:
        """Play the segments from the tape. Raises TapeError where one does not end in the recorded state."""
        axes = SegmentAxes.of(shard)
        trial = self.inputs.trials[axes.trial]
        tape = self._open(trial)
        trainer, classifier = self._take_player(trial)
        segments: list[Followed] = []
        digests: list[str] = []
        for segment in axes.segments:
            start = segment * tape.header.segment
            digests.append(tape.restore(trainer, start))
            follower = self.follower(axes, classifier)
            follow(trainer, min(start + tape.header.segment, trainer.num_steps), [follower])
            tape.check(trainer)
            segments.append(follower.finish())
        self._player = trial, trainer, classifier
        return self.followed_shard(shard, segments, digests[0])

    def commit(self, followed: FollowedShard, attempt: int) -> dict[str, Any]:
        """Store the panel and commit the rows; the summary says whether this attempt was the first."""
        dataset = self.inputs.data[followed.trial.dataset].panel
        rows = partial(result_table, followed, dataset, attempt)
        return commit_shard(self.run, followed.shard, attempt, partial(image_table, followed), rows)

    def live_classifier(self, trial: Trial, trainer: Trainer) -> Classifier:
        """Return the trainer's network as a classifier for the panel."""
        class_names = self.inputs.data[trial.dataset].train.class_names
        return live_classifier(
            trainer.network, trial.model, class_names, self._execution, self.inputs.description
        )

    def follower(self, axes: SegmentAxes, classifier: Classifier) -> Follower:
        """Return what follows the panel of a shard by its methods."""
        if classifier is not self._followed:
            self._passes.clear()
            self._followed = classifier
        axes = replace(axes, segments=())
        if axes not in self._passes:
            panel, settings = self._panel(axes), self._follow_settings(axes)
            self._passes[axes] = PanelPasses(classifier, panel, settings, self._execution)
        return Follower(self._passes[axes])

    def followed_shard(self, shard: Shard, segments: list[Followed], weights_digest: str) -> FollowedShard:
        """Return a shard that is ready for `commit`."""
        axes = SegmentAxes.of(shard)
        return FollowedShard(
            shard=shard,
            trial=self.inputs.trials[axes.trial],
            settings=self._follow_settings(axes),
            panel=self._panel(axes),
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
        torch.set_num_threads(tape.header.threads)
        return tape

    def _take_player(self, trial: Trial) -> tuple[Trainer, Classifier]:
        """Return the training of a trial, in any state, and its network as a classifier.

        It is made anew unless the shard before was of the same trial, and went well.
        """
        player, self._player = self._player, None
        if player is not None and player[0] == trial:
            return player[1:]
        trainer = self.inputs.trainer(trial, self.training_execution)
        return trainer, self.live_classifier(trial, trainer)

    def _panel(self, axes: SegmentAxes) -> Panel:
        key = axes.trial, axes.panel
        if key not in self._panels:
            trial = self.inputs.trials[axes.trial]
            dataset = self.inputs.data[trial.dataset].panel
            self._panels[key] = Panel.read(dataset, axes.panel, self.inputs.view(trial), self._execution)
        return self._panels[key]

    def _follow_settings(self, axes: SegmentAxes) -> FollowSettings:
        return replace(self.settings.follow, methods=axes.methods)
