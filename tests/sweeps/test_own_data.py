"""A sweep over a user's own data set: which code it was is recorded, and other code is refused."""

from pathlib import Path

import pytest

from attrib_core.user_code import forget
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.attribute_all import AttributeOptions, attribute_sweep
from sweeps.attribute_training import AttributeTrainingOptions, training_sweep
from sweeps.cli import parse_options
from sweeps.modify_all import ModifyOptions, modify_sweep
from sweeps.runner import record
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep

CODE = """
import numpy as np
from torch.utils.data import Dataset

class Bars(Dataset):
    classes = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot".split()

    def __init__(self, split="test", count: int = 20): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, row):
        image = np.zeros((28, 28), np.uint8)
        image[row % 10 : row % 10 + 9] = 200
        return image, row % 10
"""
SCRIPTS = {
    "attack": (AttackOptions, attack_sweep),
    "attribute": (AttributeOptions, attribute_sweep),
    "modify": (ModifyOptions, modify_sweep),
    "attribute_training": (AttributeTrainingOptions, training_sweep),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def sweep_of(script: str, file: Path, *arguments: str) -> Sweep:
    options, make = SCRIPTS[script]
    given = ["--output", str(file.parent / "run"), "--dataset", f"{file}:Bars", *arguments]
    sweep: Sweep = make(parse_options(options, given))  # type: ignore[operator]
    return sweep


@pytest.mark.parametrize("script", SCRIPTS)
def test_changed_code_under_an_old_name_is_refused(file: Path, script: str) -> None:
    run = RunDirectory(str(file.parent / "run"))
    sweep = sweep_of(script, file)
    assert sweep.definitions["dataset mine.py:Bars"].startswith("SHA-256 ")
    record(run, sweep, 10)
    record(run, sweep_of(script, file), 10)
    forget()
    file.write_text(f"{CODE}\n# another version\n")
    with pytest.raises(
        ValueError, match=r"dataset mine\.py:Bars: its definition has changed since the directory"
    ):
        record(run, sweep_of(script, file), 10)


def test_rows_hold_the_reference_without_the_path_to_the_file(file: Path) -> None:
    sweep = sweep_of("attack", file)
    assert (sweep.settings["dataset"], sweep.settings["split"]) == ("mine.py:Bars", "test")
    assert (
        "labels: names of the classes: 'T-shirt/top' is class 0 'T-shirt/top'" in sweep.provenance["labels"]
    )


def test_data_sets_of_our_own_names_record_no_definition(tmp_path: Path) -> None:
    sweep = attack_sweep(parse_options(AttackOptions, ["--output", str(tmp_path / "run")]))
    assert not any(name.startswith("dataset") for name in sweep.definitions)
