"""A tape plays as it was recorded, bit for bit, and whatever is wrong with it is found and said."""

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attrib_core.classifiers import load_classifier
from attrib_core.training import Tape, TapeError, TapeHeader, Trainer, TrainingSettings, runs_on
from attrib_core.training import tape as tape_module
from sweeps.store.local_files import LocalFiles

SEGMENT = 3
SETTINGS = TrainingSettings(epochs=2, batch_size=16, horizontal_flip=True, max_shift=2, seed=5)
FOLDER = "tapes/trial"


def header(settings: TrainingSettings = SETTINGS, **changes) -> TapeHeader:
    return replace(
        TapeHeader(
            model="fashion_deep",
            dataset="stripes train",
            data_digest="0" * 64,
            settings=settings,
            segment=SEGMENT,
            num_steps=10,
        ),
        **changes,
    )


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


@pytest.fixture(scope="session")
def recordings(make_trainer, tmp_path_factory) -> Callable[[TrainingSettings, str], tuple[Path, Trainer]]:
    """Recorded once: the root of a complete tape, and the trainer at its end."""

    @functools.cache
    def record(settings: TrainingSettings, model: str) -> tuple[Path, Trainer]:
        root, trainer = tmp_path_factory.mktemp("recording"), make_trainer(settings, model)
        tape = Tape.begin(LocalFiles(root), FOLDER, header(settings, model=model))
        tape.write(trainer)
        for update in trainer.updates():
            if update.step % SEGMENT == 0 or update.step == trainer.num_steps:
                tape.write(trainer)
        return root, trainer

    return record


@pytest.fixture
def record(recordings, tmp_path, files) -> Callable[..., tuple[Tape, Trainer]]:
    """A complete tape, as a copy of the test's own, and the trainer at its end, to be looked at only."""

    def copied(settings: TrainingSettings = SETTINGS, model: str = "fashion_deep") -> tuple[Tape, Trainer]:
        root, trainer = recordings(settings, model)
        shutil.copytree(root, tmp_path, dirs_exist_ok=True)
        return Tape(files, FOLDER, header(settings, model=model)), trainer

    return copied


def state(trainer: Trainer) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in trainer.network.state_dict().values()]


def are_equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("start", [0, 3, 6, 9])
def test_every_stretch_plays_to_the_recorded_state(optimizer, start, record, make_trainer) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, learning_rate=0.01)
    tape, recorded = record(settings)
    trainer = make_trainer(settings)
    tape.restore(trainer, start)
    while trainer.step < trainer.num_steps:
        trainer.advance()
        if trainer.step in tape.header.checkpoint_steps():
            tape.check(trainer)
    assert are_equal(state(trainer), state(recorded))


def test_dropout_and_batch_norm_play_to_the_recorded_state(record, make_trainer) -> None:
    settings = replace(SETTINGS, optimizer="sgd", epochs=1, learning_rate=0.001)
    tape, _ = record(settings, model="fashion_alexnet")
    trainer = make_trainer(settings, "fashion_alexnet")
    tape.restore(trainer, 3)
    list(trainer.updates())
    tape.check(trainer)


def test_a_trainer_that_has_gone_elsewhere_is_brought_back_whole(record, make_trainer) -> None:
    tape, recorded = record()
    trainer = make_trainer(SETTINGS)
    for _ in range(7):  # leaves weights, moments and an order of the data behind
        trainer.advance()
    tape.restore(trainer, 3)
    list(trainer.updates())
    assert are_equal(state(trainer), state(recorded))


def test_the_smallest_change_is_found(record, make_trainer) -> None:
    tape, _ = record()
    trainer = make_trainer(SETTINGS)
    tape.restore(trainer, 3)
    with torch.no_grad():
        bias = trainer.network.get_parameter("conv1.bias")
        bias[0] = torch.nextafter(bias[0], torch.tensor(1.0))
    while trainer.step < 6:
        trainer.advance()
    with pytest.raises(TapeError, match="played to step 6, it does not arrive at the recorded weights"):
        tape.check(trainer)


def test_a_mismatch_names_the_versions(record, make_trainer, files) -> None:
    record()
    tape = Tape.begin(files, FOLDER, header(torch_version="1.0.0"))
    trainer = make_trainer(SETTINGS)
    trainer.advance()
    trainer.step = 3
    with pytest.raises(
        TapeError, match=f"by torch 1.0.0, while {torch.__version__.split('+')[0]}.* runs now"
    ):
        tape.check(trainer)


def test_a_checkpoint_is_a_weights_file_of_the_classifier(record, tmp_path) -> None:
    tape, trainer = record()
    path = tmp_path / FOLDER / "checkpoints" / "step-00000010.safetensors"
    classifier = load_classifier("fashion_deep", weights=str(path))
    assert are_equal(list(classifier.network.state_dict().values()), state(trainer))
    assert classifier.digest == tape.restore(trainer, 10)


def test_an_incomplete_tape_is_continued_from_its_last_checkpoint(record, make_trainer, tmp_path) -> None:
    tape, recorded = record()
    for kind in ("checkpoints", "optimizer"):
        for step in (9, 10):
            (tmp_path / FOLDER / kind / f"step-{step:08d}.safetensors").unlink()
    assert tape.recorded() == [0, 3, 6]
    assert not tape.is_complete
    trainer = make_trainer(SETTINGS)
    tape.resume(trainer)
    assert trainer.step == 6
    list(trainer.updates())
    assert are_equal(state(trainer), state(recorded))


def test_weights_without_their_optimiser_are_no_checkpoint(record, tmp_path) -> None:
    tape, _ = record()
    (tmp_path / FOLDER / "optimizer" / "step-00000006.safetensors").unlink()
    assert tape.recorded() == [0, 3]


@pytest.mark.parametrize("kind", ["checkpoints", "optimizer"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damage_is_found_and_passed_over_in_a_resumption(
    kind, damage, record, make_trainer, tmp_path
) -> None:
    tape, _ = record()
    path = tmp_path / FOLDER / kind / "step-00000010.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
    path.write_bytes(content[:-10] if damage == "cut" else content)
    trainer = make_trainer(SETTINGS)
    with pytest.raises(TapeError, match=r"step-00000010.safetensors: damaged"):
        tape.restore(trainer, 10)
    tape.resume(trainer)
    assert trainer.step == 9


def test_a_tape_that_is_cut_short_says_how_far_it_reaches(record, make_trainer, tmp_path) -> None:
    tape, _ = record()
    (tmp_path / FOLDER / "checkpoints" / "step-00000009.safetensors").unlink()
    with pytest.raises(TapeError, match="missing, the tape is cut short: recorded are steps 0 to 6 of 10"):
        tape.restore(make_trainer(SETTINGS), 9)


def test_a_tape_of_another_network_is_refused(record, make_trainer) -> None:
    tape, _ = record()
    with pytest.raises(TapeError, match="weights of another network"):
        tape.restore(make_trainer(SETTINGS, "fashion_alexnet"), 3)


def test_another_order_of_the_data_is_found_before_anything_is_played(record, make_trainer) -> None:
    tape, _ = record()
    with pytest.raises(TapeError, match="the data come in another order"):
        tape.restore(make_trainer(replace(SETTINGS, seed=6)), 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "fashion_alexnet"}, "model: recorded 'fashion_deep', asked for 'fashion_alexnet'"),
        ({"data_digest": "1" * 64}, "data_digest: recorded '0"),
        ({"segment": 5}, "segment: recorded 3, asked for 5"),
        (
            {"settings": replace(SETTINGS, learning_rate=0.5)},
            "learning_rate: recorded 0.001, asked for 0.5",
        ),
        ({"threads": 8, "torch_version": "1.0.0"}, None),
    ],
)
def test_a_header_names_the_field_in_which_another_training_differs(change, named) -> None:
    difference = header().difference(header(**change))
    assert difference is None if named is None else named in difference


def test_a_header_survives_its_file(files) -> None:
    Tape.begin(files, FOLDER, header())
    opened = Tape.open(files, FOLDER)
    assert opened is not None
    assert opened.header == header()
    assert Tape.open(files, "tapes/other") is None


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", json.dumps({"model": "a"}).encode()])
def test_a_header_that_cannot_be_read_is_named(content, files) -> None:
    files.put(f"{FOLDER}/tape.json", content)
    with pytest.raises(TapeError, match=r"tapes/trial/tape.json: it is no tape's header"):
        Tape.open(files, FOLDER)


ON_A_GPU = {"device": "cuda", "card": "NVIDIA H100 80GB HBM3", "cuda": "13.0", "cudnn": 91300}


@pytest.mark.parametrize(
    ("recorded", "running", "reason"),
    [
        ({}, {"threads": 8, "torch_version": "1.0.0"}, None),
        (ON_A_GPU, ON_A_GPU | {"threads": 8}, None),
        ({"device": "cuda"}, ON_A_GPU, None),  # recorded before the card was noted
        ({}, ON_A_GPU, r"recorded on the CPU, .* has cuda \(NVIDIA H100 .*\(--gpus-per-worker 0"),
        (ON_A_GPU, {}, r"recorded on cuda \(NVIDIA H100 .* has the CPU; play it on .*--gpus-per-worker 1"),
        (ON_A_GPU, ON_A_GPU | {"card": "NVIDIA L4"}, "card: recorded 'NVIDIA H100 80GB HBM3', here 'NVIDIA L4'"),
        (ON_A_GPU, ON_A_GPU | {"cudnn": 91400}, "cudnn: recorded 91300, here 91400: .* record it anew"),
        (ON_A_GPU, ON_A_GPU | {"cuda": "12.8"}, "cuda: recorded '13.0', here '12.8'"),
        (ON_A_GPU, ON_A_GPU | {"torch_version": "1.0.0"}, "torch_version: recorded .*, here '1.0.0'"),
        (ON_A_GPU, ON_A_GPU | {"precision": "tf32"}, "precision: recorded 'float32', here 'tf32'"),
        (ON_A_GPU, ON_A_GPU | {"channels_last": False}, "channels_last: recorded True, here False"),
    ],
)  # fmt: skip
def test_a_tape_plays_on_what_it_was_recorded_on(
    recorded, running, reason, record, make_trainer, files, monkeypatch
) -> None:
    record()
    tape = Tape.begin(files, FOLDER, header(**recorded))
    monkeypatch.setattr(tape_module, "runs_on", lambda *_: header(**running).runs_on)
    for play in (lambda trainer: tape.restore(trainer, 3), tape.resume):
        trainer = make_trainer(SETTINGS)
        before = state(trainer)
        if reason is None:
            play(trainer)
            assert trainer.step in (3, 10)
            continue
        with pytest.raises(TapeError, match=rf"tapes/trial: .*{reason}"):
            play(trainer)
        assert are_equal(state(trainer), before)
    assert len(tape.recorded()) == 5  # nothing was recorded anew


def test_headers_say_what_a_gpu_is_and_stay_as_they_were_on_the_cpu(files) -> None:
    own = {"device", "threads", "channels_last", "torch_version"}
    for changes, added in (({}, set()), (ON_A_GPU, {"precision", "card", "cuda", "cudnn"})):
        Tape.begin(files, FOLDER, header(**changes))
        stored = json.loads(files.read_if_present(f"{FOLDER}/tape.json"))
        training = {"model", "dataset", "data_digest", "settings", "segment", "num_steps"}
        assert stored.keys() == training | own | added
        opened = Tape.open(files, FOLDER)
        assert opened is not None
        assert opened.header == header(**changes)


def test_a_trainer_runs_on_the_device_of_its_execution(execution) -> None:
    assert runs_on(execution, 3) == header(threads=3).runs_on
