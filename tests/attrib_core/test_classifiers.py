"""Classifiers by name: the default model, checkpoints that are shared, and names that do not exist."""

import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from attrib_core.classifiers import (
    Architecture,
    Checkpoint,
    Classifier,
    Labels,
    Preprocessing,
    build_classifier,
    load_classifier,
    read_checkpoint,
    register,
    registry,
)

LITE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
KNOWN_CLASSES = [
    (0, "n01440764", "tench"),
    (134, "n02012849", "crane bird"),
    (207, "n02099601", "golden retriever"),
    (291, "n02129165", "lion"),
    (340, "n02391049", "zebra"),
    (517, "n03126707", "crane"),
    (999, "n15075141", "toilet tissue"),
]


@pytest.fixture(scope="module")
def lite0() -> Classifier:
    """One of this module's own: another may have laid the shared one out for speed, which changes last bits."""
    return load_classifier("efficientnet_lite0")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def some_images(batch_size: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))


# The default model


@pytest.mark.parametrize("name", LITE_SIZES)
def test_the_offline_models_know_their_size_and_classes(name: str) -> None:
    classifier = load_classifier(name)
    assert (classifier.name, classifier.image_size) == (name, LITE_SIZES[name])
    assert (classifier.channels, classifier.num_classes) == (3, 1000)
    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert classifier(some_images()).shape == (2, 1000)


@pytest.mark.parametrize(("index", "wnid", "name"), KNOWN_CLASSES)
def test_classes_are_in_imagenets_order(lite0: Classifier, index: int, wnid: str, name: str) -> None:
    assert (lite0.wnids[index], lite0.class_names[index]) == (wnid, name)


def test_lite0_is_timms_network_with_the_wheels_weights(lite0: Classifier, wheel_file: Path) -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    tensors = torch.load(wheel_file, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    images = some_images()
    assert torch.equal(lite0(images), network((images - 0.5) / 0.5))


def test_a_gradient_does_not_depend_on_the_batch(lite0: Classifier) -> None:
    images = some_images(batch_size=8).requires_grad_()
    together = torch.autograd.grad(lite0(images)[:, 207].sum(), images)[0]
    alone = torch.autograd.grad(lite0(images[3:4])[0, 207], images)[0][3]
    torch.testing.assert_close(together[3], alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


def test_images_of_other_channels_are_refused(lite0: Classifier) -> None:
    with pytest.raises(ValueError, match=r"images \[2, 1, 8, 8\].*\[B, 3, H, W\]"):
        lite0(torch.zeros(2, 1, 8, 8))


def test_train_mode_is_refused(lite0: Classifier) -> None:
    with pytest.raises(ValueError, match="not for training"):
        lite0.train()


def test_resizing_for_a_judge_gives_its_size_within_bounds(lite0: Classifier) -> None:
    checkerboard = (torch.arange(64).view(-1, 1) + torch.arange(64)).remainder(2).expand(1, 3, 64, 64).float()
    resized = lite0.resize(checkerboard)
    assert resized.shape == (1, 3, 224, 224)
    assert (resized.min(), resized.max()) == (0, 1)  # bicubic alone overshoots
    assert torch.equal(lite0.resize(resized), resized)


def test_input_scaling_can_be_left_out(lite0: Classifier) -> None:
    raw = lite0.with_input_scaling("none")
    images = some_images()
    assert raw.network is lite0.network
    assert torch.equal(raw(images), lite0.network(images))
    assert torch.equal(raw.with_input_scaling("model")(images), lite0(images))
    with pytest.raises(ValueError, match=r"'half'.*'model' and 'none'"):
        lite0.with_input_scaling("half")  # type: ignore[arg-type]


# Checkpoints


def test_a_checkpoint_survives_pickling(lite0_checkpoint: Checkpoint, lite0: Classifier) -> None:
    copied = build_classifier(pickle.loads(pickle.dumps(lite0_checkpoint)))
    assert copied.digest == lite0.digest == lite0_checkpoint.digest
    assert torch.equal(copied(some_images()), lite0(some_images()))


def test_read_only_weights_are_used_without_a_copy(
    lite0_checkpoint: Checkpoint, lite0: Classifier, tmp_path: Path
) -> None:
    # Pages mapped read-only, as Ray's are: a write to them would end the process.
    for name, array in lite0_checkpoint.state.items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in lite0_checkpoint.state}
    classifier = build_classifier(Checkpoint(**{**vars(lite0_checkpoint), "state": mapped}))
    addresses = {tensor.data_ptr() for tensor in classifier.network.state_dict().values()}
    assert addresses == {array.ctypes.data for array in mapped.values()}
    images = some_images().requires_grad_()
    classifier(images).sum().backward()
    assert torch.equal(classifier(images), lite0(images))


# Names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("eficientnet_lite0", "near matches are.*efficientnet_lite0"),
        ("torchvision:resnet_50", "near matches are torchvision:resnet50"),
        ("timm:resnet_50", "near matches are.*timm:resnet50"),
        ("zzzzzzzzzz", "accepted are.*efficientnet_lite0.*any model of torchvision, any model of timm"),
        ("kaggle:resnet50", "accepted prefixes are torchvision, timm"),
        ("resnet18.no_such_tag", "no weights 'no_such_tag'; accepted are resnet18.a1_in1k"),
        ("fasterrcnn_resnet50_fpn", "unknown"),  # a detector
        ("", "unknown"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"model='{name}'.*{reason}"):
        load_classifier(name)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "weights", "source"),
    [
        ("resnet18", None, "ResNet18_Weights.IMAGENET1K_V1 from https://download.pytorch.org/"),
        ("inception_v3", "Inception_V3_Weights.IMAGENET1K_V1", "inception_v3_google"),
        ("resnet50", "IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2 from"),
        ("timm:resnet18", None, "resnet18.a1_in1k from the Hugging Face hub"),
        ("timm:resnet18", "tv_in1k", "resnet18.tv_in1k from the Hugging Face hub"),
        ("resnet18.a2_in1k", None, "resnet18.a2_in1k from the Hugging Face hub"),
    ],
)
def test_without_a_network_the_message_says_what_to_do(name: str, weights: str | None, source: str) -> None:
    with pytest.raises(ValueError, match=f"could not fetch.*{source}.*weights=FILE"):
        load_classifier(name, weights=weights)


def test_each_weights_name_brings_its_own_input_size() -> None:
    vit = registry.find_architecture("vit_b_16")
    size = {name.rpartition(".")[2]: vit.preprocessing(name).image_size for name in vit.weights_names}
    assert size == {"IMAGENET1K_V1": 224, "IMAGENET1K_SWAG_E2E_V1": 384, "IMAGENET1K_SWAG_LINEAR_V1": 224}


def test_untrained_weights_are_the_same_every_time() -> None:
    before = torch.get_rng_state()
    first = read_checkpoint("resnet18", weights="untrained")
    torch.rand(3)
    assert read_checkpoint("resnet18", weights="untrained").digest == first.digest
    assert read_checkpoint("timm:resnet18", weights="untrained").digest != first.digest
    torch.set_rng_state(before)
    build_classifier(first)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_new_model_is_one_entry_in_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", {})

    class Linear(Architecture):
        name, num_classes, weights_names, default_weights = "linear", 2, ("ones",), "ones"

        def network(
            self, num_classes: int, weights_name: str | None, *, untrained: bool = False
        ) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(4, num_classes))

        def fetch(self, weights_name: str) -> dict[str, torch.Tensor]:
            return {"1.weight": torch.ones(2, 4), "1.bias": torch.zeros(2)}

        def preprocessing(self, weights_name: str | None) -> Preprocessing:
            return Preprocessing(mean=(0.5,), std=(0.25,), image_size=2)

        def labels(self, num_classes: int) -> Labels:
            return Labels(class_names=("shirt", "shoe"))

    register("linear")(Linear)
    classifier = load_classifier("linear")
    assert classifier.class_names == ("shirt", "shoe")
    assert classifier(torch.ones(1, 1, 2, 2)).tolist() == [[8, 8]]
