"""`--checkpoints FOLDER`: weights files of any usual suffix, in the order of the numbers in their names."""

from pathlib import Path

import pytest
import torch

from attrib_core.classifiers import load_classifier, read_checkpoint
from sweeps.images.checkpoints import _sources


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["epoch_10.pth", "epoch_2.pth"], ["epoch_2", "epoch_10"]),
        (["step-00000010.safetensors", "step-00000002.safetensors"], ["step-00000002", "step-00000010"]),
        (["last.ckpt", "epoch=3-step=40.ckpt"], ["epoch=3-step=40", "last"]),
        (["model_best.pth.tar", "checkpoint-9.pth.tar"], ["checkpoint-9", "model_best"]),
        (["b.pt", "a.bin", "c.safetensors"], ["a", "b", "c"]),
        (["pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "log.txt"],
         ["pytorch_model"]),
    ],
)  # fmt: skip
def test_files_are_found_and_named(files: list[str], names: list[str], tmp_path: Path) -> None:
    fill(tmp_path, *files)
    assert list(_sources(str(tmp_path), None)) == names
    fill(tmp_path / "run" / "checkpoints", *files)
    assert list(_sources(str(tmp_path / "run"), None)) == names


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "best.pth", "best.safetensors")
    with pytest.raises(
        ValueError, match=r"has best\.pth and best\.safetensors; accepted are files that differ in"
    ):
        _sources(str(tmp_path), None)


def test_a_folder_without_any_says_which_are_accepted(tmp_path: Path) -> None:
    fill(tmp_path, "weights.h5")
    with pytest.raises(
        ValueError, match=r"no folder with \*\.safetensors files, nor with \*\.pth, \*\.pt, \*\.ckpt"
    ):
        _sources(str(tmp_path), None)


def test_a_file_of_another_script_is_read_as_the_networks_own(tmp_path: Path) -> None:
    state = load_classifier("fashion_deep").network.state_dict()
    torch.save(
        {"model_state_dict": {f"module.{name}": each for name, each in state.items()}}, tmp_path / "1.pth"
    )
    [(name, file)] = _sources(str(tmp_path), None).items()
    assert name == "1"
    assert read_checkpoint("fashion_deep", weights=file).digest == read_checkpoint("fashion_deep").digest
