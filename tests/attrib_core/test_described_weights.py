"""Weights that are not the published ones: what a user says about them, what is assumed, and what is refused."""

import pickle
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from attrib_core.classifiers import (
    Description,
    Preprocessing,
    build_classifier,
    imagenet,
    load_classifier,
    read_checkpoint,
    timm_models,
    torchvision_models,
)
from attrib_core.classifiers.registry import find_architecture

GREY = Description(mean=(0.5,), std=(0.25,), image_size=32, class_names=("cat", "dog"))


def saved(network: nn.Module, folder: Path) -> str:
    torch.save(network.state_dict(), folder / "weights.pth")
    return str(folder / "weights.pth")


# What a user says


def test_the_users_numbers_take_the_place_of_the_published_ones(tmp_path: Path) -> None:
    weights = saved(torchvision.models.resnet18(num_classes=2), tmp_path)
    description = Description(mean=(0.1, 0.2, 0.3), std=(1, 2, 3), image_size=32, class_names=("cat", "dog"))
    checkpoint = read_checkpoint("resnet18", weights=weights, description=description)
    classifier = build_classifier(pickle.loads(pickle.dumps(checkpoint)))
    expected = Preprocessing(mean=(0.1, 0.2, 0.3), std=(1, 2, 3), image_size=32, interpolation="bilinear")
    assert classifier.preprocessing == expected
    assert classifier.class_names == ("cat", "dog")
    assert checkpoint.notes == ()


def test_what_is_not_said_is_as_published(tmp_path: Path) -> None:
    published = find_architecture("resnet18").preprocessing(None)
    named = read_checkpoint(
        "resnet18", weights="untrained", description=Description(class_names=["it"] * 1000)
    )
    assert named.preprocessing == published
    assert named.digest == read_checkpoint("resnet18", weights="untrained").digest


@pytest.mark.parametrize("name", ["timm:resnet18", "vit_tiny_patch16_224"])
def test_a_network_of_timm_is_built_for_the_channels_and_the_size_that_are_said(
    name: str, tmp_path: Path
) -> None:
    options = {"img_size": 32} if "vit" in name else {}
    network = timm.create_model(name.removeprefix("timm:"), num_classes=2, in_chans=1, **options).eval()
    classifier = load_classifier(name, weights=saved(network, tmp_path), description=GREY)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(classifier(images), network((images - 0.5) / 0.25))


@pytest.mark.parametrize(
    ("name", "description", "message"),
    [
        ("resnet18", Description(channels=1), "channels=1: resnet18 has mean and std for 3; accepted with"),
        ("resnet18", GREY, "channels=1: resnet18 takes 3"),
        ("fashion_deep", Description(class_names=("cat",)), "class_names=.*accepted are 10 names"),
    ],
)
def test_what_cannot_be_is_named(name: str, description: Description, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_checkpoint(name, weights="untrained", description=description)


# What is assumed


def test_weights_of_other_classes_come_with_a_warning(tmp_path: Path) -> None:
    weights = saved(torchvision.models.resnet18(num_classes=10), tmp_path)
    [note] = read_checkpoint("resnet18", weights=weights).notes
    assert note == (
        f"weights={weights!r}: 10 classes, not the 1000 of resnet18; images are resized to 224 and normalised "
        "with mean 0.485,0.456,0.406 and std 0.229,0.224,0.225 as for its published weights: give --image-size, "
        "--mean and --std if it was trained otherwise"
    )
    for said in (Description(image_size=224), Description(class_names=list("abcdefghij"))):
        assert read_checkpoint("resnet18", weights=weights, description=said).notes == ()


def test_weights_of_the_published_classes_come_without(tmp_path: Path) -> None:
    weights = saved(torchvision.models.resnet18(), tmp_path)
    assert read_checkpoint("resnet18", weights=weights).notes == ()
    shipped = saved(load_classifier("fashion_deep").network, tmp_path)
    assert read_checkpoint("fashion_deep", weights=shipped).notes == ()


# transform_input


def googlenet(folder: Path) -> str:
    return saved(torchvision.models.googlenet(aux_logits=False, init_weights=False), folder)


@pytest.mark.parametrize(
    ("name", "transforms", "said"),
    [
        ("googlenet", False, "transform_input=false, as torchvision builds googlenet for a training from"),
        ("googlenet:transform_input=true", True, "transform_input=true, as the model's name says"),
        ("torchvision:googlenet:transform_input=False", False, "transform_input=false, as the model's name"),
    ],
)
def test_a_file_is_taken_as_its_name_says_and_that_is_noted(
    name: str, transforms: bool, said: str, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(name, weights=googlenet(tmp_path))
    assert said in checkpoint.notes[0]
    assert build_classifier(checkpoint).network.transform_input is transforms


def test_torchvisions_own_file_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = googlenet(tmp_path)
    # The name of the published file is googlenet-1378be20.pth.
    monkeypatch.setattr(torchvision_models, "file_digest", lambda _: "1378be20" + "0" * 56)
    checkpoint = read_checkpoint("googlenet", weights=weights)
    assert checkpoint.weights_name == "GoogLeNet_Weights.IMAGENET1K_V1"
    assert "transform_input=true: it is the file of GoogLeNet_Weights.IMAGENET1K_V1" in checkpoint.notes[0]
    assert build_classifier(checkpoint).network.transform_input is True


def test_published_weights_have_it_and_untrained_ones_do_not() -> None:
    architecture = find_architecture("googlenet")
    assert architecture.network(10, "GoogLeNet_Weights.IMAGENET1K_V1").transform_input is True
    assert architecture.network(10, None).transform_input is False


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("googlenet:transform_input=yes", "transform_input='yes'; accepted are true and false"),
        ("googlenet:aux=true", "aux=true is no setting of it; accepted are transform_input"),
        ("resnet18:transform_input=true", "transform_input=true is no setting of it; accepted are none"),
        ("fashion_deep:a=b", "a=b is no setting of it; accepted is weights=FILE"),
        ("timm:resnet18:a=b", "a=b is no setting of it; accepted is weights=FILE"),
    ],
)
def test_a_setting_that_a_model_does_not_have_is_named(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_classifier(name, weights="untrained")


# Weights without classes


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_small_patch14_dinov2", r"features only\); accepted are classifiers: weights=FILE"),
        ("vit_small_patch14_dinov2.lvd142m", "features only"),
        (
            "vit_base_patch16_clip_224.openai",
            "their 512 outputs are an embedding.*vit_base_patch16_clip_224.openai_ft_in1k, .*weights=FILE",
        ),
        ("convnext_base.clip_laion2b", "their 640 outputs are an embedding.*convnext_base.fb_in1k"),
        ("resnet50_clip.openai", "their 1024 outputs are an embedding"),
    ],
)
def test_weights_without_classes_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"model='{name}.*: its weights have no classes .*{reason}"):
        load_classifier(name)


def test_a_file_with_classes_of_such_a_network_is_welcome(tmp_path: Path) -> None:
    network = timm.create_model("vit_xsmall_patch16_clip_224", num_classes=3).eval()
    classifier = load_classifier("vit_xsmall_patch16_clip_224", weights=saved(network, tmp_path))
    assert classifier.class_names == ("0", "1", "2")
    images = torch.rand(1, 3, 224, 224)
    assert classifier(images).shape == (1, 3)


def test_a_count_of_outputs_of_timms_weights_is_that_of_a_label_set_or_an_embedding() -> None:
    every = [timm.get_pretrained_cfg(name) for name in timm.list_models(pretrained=True)]
    with_classes = {each.num_classes for each in every if timm_models.has_classes(each)}
    without = {each.num_classes for each in every if not timm_models.has_classes(each)}
    assert with_classes <= timm_models.LABEL_SETS
    assert max(without) <= 2048


# Names of the classes


@pytest.mark.parametrize(("num_classes", "name"), imagenet.LARGER_SETS.items())
def test_larger_sets_of_imagenet_have_names(num_classes: int, name: str) -> None:
    labels = imagenet.labels(num_classes)
    assert timm.data.infer_imagenet_subset({"num_classes": num_classes}) == name
    assert len(labels.class_names) == len(labels.wnids) == num_classes
    assert labels.class_names[labels.wnids.index("n02129165")] == "lion, king of beasts, Panthera leo"
