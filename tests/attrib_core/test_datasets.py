"""Data sets by name, and their labels as a classifier counts them."""

import numpy as np
import pytest
import torch
from torch import nn

from attrib_core.classifiers import Classifier, Labels, Preprocessing
from attrib_core.classifiers.classifier import Identity
from attrib_core.datasets import Dataset, Request, labels_for, load_dataset, register, registry
from attrib_core.datasets.arrays import ArrayImages, array_digests


def dataset_of(class_names: tuple[str, ...], labels: list[int]) -> Dataset:
    pixels = np.zeros((len(labels), 4, 4), np.uint8)
    return Dataset(
        name="toy",
        split="test",
        class_names=class_names,
        labels=np.array(labels, dtype=np.int64),
        keys=tuple(f"{index:05d}" for index in range(len(labels))),
        image_digests=array_digests(pixels),
        source=ArrayImages(pixels),
    )


def classifier_of(labels: Labels) -> Classifier:
    preprocessing = Preprocessing(mean=(0.0,), std=(1.0,), image_size=4)
    identity = Identity(name="net", digest="0" * 64, preprocessing=preprocessing, labels=labels)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, len(labels.class_names))), identity)


NUMBERED = Labels.numbered(3)
FLOWERS = Labels(class_names=("daisy", "rose", "tulip"))
WITH_WNIDS = Labels(class_names=("tench", "crane", "crane"), wnids=("n01", "n02", "n03"))


@pytest.mark.parametrize(
    ("class_names", "known", "expected"),
    [
        (("Dress", "Coat", "Bag"), NUMBERED, [1, 0, 2]),  # as many as classes without names: as they are
        (("daisy", "rose", "tulip"), FLOWERS, [1, 0, 2]),
        (("daisy", "tulip"), FLOWERS, [2, 0]),  # a pair, classified by a net of all
        (("n01", "n03"), WITH_WNIDS, [2, 0]),
        (("n03", "n01"), WITH_WNIDS, [0, 2]),
        (("0", "2"), NUMBERED, [2, 0]),
    ],
)
def test_labels_become_the_classifiers_indices(
    class_names: tuple[str, ...], known: Labels, expected: list[int]
) -> None:
    dataset = dataset_of(class_names, [1, 0, 2][: len(expected)])
    assert labels_for(dataset, classifier_of(known)).tolist() == expected


def test_a_name_of_two_classes_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"1 of 2 class names, 'crane', can be more than one class: .* 1, 2;"
    ):
        labels_for(dataset_of(("crane", "tench"), [0]), classifier_of(WITH_WNIDS))


def test_more_classes_than_the_classifier_has_are_refused() -> None:
    with pytest.raises(ValueError, match="toy has 4 classes, net only 3"):
        labels_for(dataset_of(("a", "b", "c", "d"), [0, 1, 2, 3]), classifier_of(NUMBERED))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_the_first_label_outside_is_named(wrong: int) -> None:
    dataset = dataset_of(("a", "b", "c"), [0, 2, wrong, -1])
    with pytest.raises(ValueError, match=rf"toy: image 2 \('00002'\) has label {wrong}, accepted are 0 to 2"):
        labels_for(dataset, classifier_of(NUMBERED))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mnist",
        "Fashion_MNIST",
        "imagefolder",
        "imagefolder:",
        "parquet:",
        "fashion_mnist:x",
        "flowers:",
        ":/",
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    accepted = "fashion_mnist, flowers, imagefolder:PATH, imagenet, parquet:URL"
    with pytest.raises(ValueError, match=f"dataset='{name}': accepted are {accepted}"):
        load_dataset(name)


def test_a_new_data_set_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @register("toy", location="CLASSES")
    def toy(request: Request) -> Dataset:
        return dataset_of(tuple(request.location.split("+")), [0, 1])

    assert load_dataset("toy:a+b").class_names == ("a", "b")


def test_loading_a_data_set_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    dataset_of(("a",), [0])
    assert torch.equal(state, torch.get_rng_state())
