"""What sweeps over images say and record of their labels, before any work starts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attrib_core.classifiers.wrapping import Description
from attrib_core.datasets import Dataset, View, load_dataset
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.attribute_all import AttributeOptions, attribute_sweep
from sweeps.cli import parse_options
from sweeps.images.columns import identity_columns
from sweeps.images.inputs import read_inputs
from sweeps.images.labels import LabelChoice
from sweeps.model_options import ModelChoice
from sweeps.modify_all import ModifyOptions, modify_sweep
from sweeps.runner import record
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep

SCRIPTS = {
    "attack": (AttackOptions, attack_sweep),
    "attribute": (AttributeOptions, attribute_sweep),
    "modify": (ModifyOptions, modify_sweep),
}
BAG, BOOT, SHIRT = 8, 9, 0
EACH = 8  # images a folder


@pytest.fixture(scope="module")
def fashion() -> Dataset:
    return load_dataset("fashion_mnist")


@pytest.fixture
def folder(fashion: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """Makes an image folder of Fashion-MNIST's classes, each in a folder of a name that is given."""

    def make(**classes: int) -> Path:
        for name, label in classes.items():
            place = tmp_path / "photos" / name.replace("__", " ")
            place.mkdir(parents=True)
            rows = np.flatnonzero(fashion.labels == label)[:EACH]
            pixels = fashion.images(rows.tolist(), View(image_size=28, channels=1))
            for number, image in enumerate(pixels):
                Image.fromarray(image[0]).save(place / f"{number}.png")
        return tmp_path / "photos"

    return make


def sweep_of(script: str, output: Path, *arguments: str) -> Sweep:
    options, make = SCRIPTS[script]
    sweep: Sweep = make(parse_options(options, ["--output", str(output / "run"), *arguments]))  # type: ignore[operator]
    return sweep


@pytest.mark.parametrize("script", SCRIPTS)
def test_how_labels_are_read_and_the_accuracy_of_a_probe_are_said_and_recorded(
    script: str, tmp_path: Path
) -> None:
    sweep = sweep_of(script, tmp_path)
    labels, accuracy = sweep.notes
    assert labels.startswith(
        "labels: names of the classes: 'T-shirt/top' is class 0 'T-shirt/top', 'Trouser' is"
    )
    assert re.fullmatch(
        r"fashion_deep on \d+ of 10,000 images of fashion_mnist/test: (?:[89]\d|100) % right", accuracy
    )
    assert sweep.provenance.items() >= {"labels": labels, "accuracy": accuracy}.items()
    assert "warnings" not in sweep.provenance
    assert "label_digest" not in sweep.settings, "directories of the version before go on"


def test_exact_names_are_recorded_as_before_and_others_by_a_digest(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    place = folder(Bag=BAG, Ankle__boot=BOOT)
    sweep = sweep_of("attack", tmp_path, "--dataset", f"imagefolder:{place}")
    assert sweep.shared.labels.tolist() == [BOOT] * EACH + [BAG] * EACH
    assert "label_digest" not in sweep.settings
    (place / "Ankle boot").rename(place / "ankle_boot")
    sweep = sweep_of("attack", tmp_path, "--dataset", f"imagefolder:{place}")
    assert sweep.shared.labels.tolist() == [BAG] * EACH + [BOOT] * EACH
    assert len(sweep.settings["label_digest"]) == 64, "the version before took 0 and 1"


def test_a_directory_refuses_other_labels(folder: Callable[..., Path], tmp_path: Path) -> None:
    place = folder(Bag=BAG, Ankle__boot=BOOT)
    (tmp_path / "labels.json").write_text('{"Bag": "Shirt", "Ankle boot": 9}')
    dataset = ("--dataset", f"imagefolder:{place}")
    record(RunDirectory(tmp_path / "run"), sweep_of("attack", tmp_path, *dataset), 8)
    others = sweep_of("attack", tmp_path, *dataset, "--labels", str(tmp_path / "labels.json"))
    with pytest.raises(
        ValueError, match="label_digest: the directory was made with None, this command asks for"
    ):
        record(RunDirectory(tmp_path / "run"), others, 8)
    (tmp_path / "same.csv").write_text("Bag,8\nAnkle boot,9\n")
    same = sweep_of("attack", tmp_path, *dataset, "--labels", str(tmp_path / "same.csv"))
    record(RunDirectory(tmp_path / "run"), same, 8)


@pytest.mark.parametrize(("weights", "warns"), [(None, True), ("untrained", False)])
def test_a_trained_model_at_chance_is_a_warning(
    weights: str | None, warns: bool, folder: Callable[..., Path], tmp_path: Path
) -> None:
    place = folder(Bag=BOOT, Shirt=BAG, Trouser=SHIRT)  # each in another one's folder
    given = ("--weights", weights) if weights else ()
    sweep = sweep_of("attack", tmp_path, "--dataset", f"imagefolder:{place}", *given)
    warnings: list[Any] = sweep.provenance.get("warnings", [])
    assert len(warnings) == warns
    if warns:
        assert re.match(
            r"fashion_deep on \d+ of 24 images of .*: 0 % right: no better than chance", warnings[0]
        )
        assert sweep.notes[-1] == f"warning: {warnings[0]}"


def test_numbered_classes_take_the_names_of_their_folders(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    """As a network with a head of three classes, which has no names of its own."""
    import safetensors.torch

    from attrib_core.classifiers.registry import find_architecture

    network = find_architecture("fashion_deep").network(3, None, untrained=True)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "three.safetensors")
    dataset = load_dataset(f"imagefolder:{folder(cat=BAG, dog=BOOT, emu=SHIRT)}")
    weights = str(tmp_path / "three.safetensors")
    model = ModelChoice(name="fashion_deep", weights=weights, description=Description())
    inputs = read_inputs(dataset, model, labels=LabelChoice())
    assert inputs.class_names == ("cat", "dog", "emu")
    columns = identity_columns(dataset, [0, EACH], inputs.labels, inputs.class_names)
    assert columns["label_name"].tolist() == ["cat", "dog"]
    assert inputs.labelling.notes[0] == (
        "labels: as many as classes of fashion_deep, so taken in the order in which they stand: "
        "'cat' is class 0, 'dog' is class 1, 'emu' is class 2"
    )


def test_class_indexes_that_predictions_fit_only_if_they_count_from_1_are_refused(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    place = folder(**{str(BAG + 1): BAG, str(SHIRT + 1): SHIRT})
    with pytest.raises(
        ValueError,
        match=r"labels are 1 to 9; on 16 images \d+ % right as class indexes, \d+ % right if they count from 1; "
        "accepted are --label-order index, or --labels",
    ):
        sweep_of("attack", tmp_path, "--dataset", f"imagefolder:{place}")
    said = sweep_of("attack", tmp_path, "--dataset", f"imagefolder:{place}", "--label-order", "index")
    assert "no better than chance" in said.notes[-1]


def test_folders_that_match_nothing_are_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    place = folder(Bag=BAG, wellington=BOOT)
    with pytest.raises(
        ValueError, match="1 of 2 class names, 'wellington', match nothing as names of the classes"
    ):
        sweep_of("attack", tmp_path, "--dataset", f"imagefolder:{place}")
