"""Training and its attribution on the pretend GPU: the host waits for nothing, and rows are those of the CPU."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from attrib_core.attribution import METHODS, AttributionSettings
from attrib_core.datasets import Dataset
from attrib_core.training import SUMMED_METHODS, DivergedError, Tape, Trainer, TrainingSettings, runs_on
from sweeps.attribute.training.grid import TrainingData, TrainingInputs, Trial, grid
from sweeps.attribute.training.panel import Follower, follow
from sweeps.attribute.training.panel_pass import FollowSettings
from sweeps.attribute.training.segment_job import SegmentJob, SegmentJobSettings
from sweeps.attribute.training.segment_rows import SegmentAxes, result_table
from sweeps.plan import Shard
from tests.gpu import pretend_gpu as pretended

SETTINGS = TrainingSettings(
    epochs=1, batch_size=16, optimizer="sgd", learning_rate=0.001, horizontal_flip=True, max_shift=1
)
SEGMENT = 2
ALL_METHODS = (*METHODS, *SUMMED_METHODS)


@dataclass
class Playing:
    """A training, what follows it, and its tape, which has its first checkpoint."""

    job: SegmentJob
    trial: Trial
    trainer: Trainer
    shard: Shard
    tape: Tape

    def follower(self) -> Follower:
        classifier = self.job.live_classifier(self.trial, self.trainer)
        return self.job.follower(SegmentAxes.of(self.shard), classifier)

    def record(self, until: int) -> None:
        """Record the tape, without attributions."""
        while self.trainer.step < until:
            follow(self.trainer, min(until, self.trainer.step + SEGMENT), [])
            self.tape.write(self.trainer)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With other numbers of threads, sums differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def play(one_thread: None, noise_dataset: Callable[..., Dataset], tmp_path: Path) -> Callable[..., Playing]:
    def make(device: str, methods: tuple[str, ...], every: int = 1, **changes) -> Playing:
        settings = replace(SETTINGS, **changes)
        trials = grid(["fashion_deep"], ["fashion_mnist"], [settings.learning_rate], [0], settings)
        data = TrainingData(train=noise_dataset(16 * 20 + 3, "train"), panel=noise_dataset(4))
        inputs = TrainingInputs(trials=trials, data={"fashion_mnist": data}, segment=SEGMENT)
        attribution = AttributionSettings(num_steps=2, num_samples=2, window_size=14, stride=14)
        job = SegmentJob(
            SegmentJobSettings(
                output=str(tmp_path / device),
                follow=FollowSettings(
                    methods=methods, target="predicted", every=every, attribution=attribution
                ),
                precision="float32",
                threads=1,
                device=device,
            ),
            inputs,
        )
        [(name, trial)] = trials.items()
        trainer = inputs.trainer(trial, job.training_execution)
        header = inputs.header(trial, **runs_on(job.training_execution, 1))
        tape = Tape.begin(job.run.files, trial.tape_folder, header)
        tape.resume(trainer)
        axes = {"trial": name, "method": methods, "image_index": (0, 1, 2, 3)}
        return Playing(job, trial, trainer, Shard("shard-1", axes, ((1,),)), tape)

    return make


@pytest.mark.parametrize(
    ("methods", "optimizer", "num_kernels"),
    [(("gradient_x_input",), "adam", 146), (SUMMED_METHODS, "sgd", 147)],
)
def test_an_update_with_attribution_waits_for_nothing(play, gpu, methods, optimizer, num_kernels) -> None:
    playing = play("gpu", methods, optimizer=optimizer)
    follower = playing.follower()
    follow(playing.trainer, 2, [follower])
    gpu.clear()
    for _ in range(2):
        update = playing.trainer.advance()
        follower.observe(playing.trainer.step, update)
        follower.settle(playing.trainer)
    assert gpu.num_waits == 0, gpu.report()
    assert gpu.uploads.total() == 0, gpu.report()
    assert gpu.num_kernels <= 2 * num_kernels, gpu.report()


def test_results_come_down_together(play, gpu) -> None:
    playing = play("gpu", ("gradient_x_input",))
    follower = playing.follower()
    follow(playing.trainer, 1, [follower])
    gpu.clear()
    follow(playing.trainer, 9, [follower])
    assert gpu.downloads.total() == 2  # attributions, and losses
    assert gpu.num_waits == 2, gpu.report()


def test_a_segment_plays_on_the_gpu_and_its_rows_are_those_of_the_cpu(play) -> None:
    """By all methods no tensor of the CPU meets one of the GPU; the pretend GPU rounds as the CPU does."""
    tables = []
    for device in ("gpu", "cpu"):
        with pretended.pretend_gpu() if device == "gpu" else nullcontext():
            playing = play(device, ALL_METHODS)
            playing.record(2 * SEGMENT)
            shards = [
                playing.job.compute(playing.shard) for _ in range(2)
            ]  # the second plays on what is there
        for shard in shards:
            panel = playing.job.inputs.data["fashion_mnist"].panel
            tables.append(result_table(shard, panel, 1, None).combine_chunks())
    for table in tables[1:]:
        assert table.equals(tables[0])
    assert isinstance(tables[0], pa.Table)
    assert tables[0].num_rows


@pytest.mark.parametrize(
    ("every", "error", "message"),
    [
        (1, ValueError, r"after \d+ updates: .* NaN or infinite values; did the training diverge"),
        (1000, DivergedError, r"step \d+: the loss is (nan|inf) at learning rate"),
    ],
)
def test_the_first_thing_that_went_wrong_is_what_the_user_reads(play, every, error, message) -> None:
    messages = set()
    for device in ("gpu", "cpu"):
        with pretended.pretend_gpu() if device == "gpu" else nullcontext():
            playing = play(device, ("gradient",), every=every, learning_rate=20.0, warmup_steps=60)
            follower = playing.follower()
            with pytest.raises(error, match=message) as raised:
                follow(playing.trainer, playing.trainer.num_steps, [follower])
            messages.add(str(raised.value))
            assert not follower.followed.states or device == "cpu"
    assert len(messages) == 1
