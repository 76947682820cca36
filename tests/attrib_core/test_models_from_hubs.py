"""Models in the folders that timm and transformers write: their logits and their preprocessing, without a hub."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models._hub import save_for_hf
from torch import nn

from attrib_core.classifiers import (
    Classifier,
    Description,
    build_classifier,
    load_classifier,
    read_checkpoint,
)
from attrib_core.datasets import View
from attrib_core.prepared import prepare

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
# Odd margins, tall and wide pictures, smaller ones than the model's images.
SIZES = ((403, 300), (100, 57), (359, 256))


def vit(**arguments: Any) -> nn.Module:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(**({"patch_size": 16, "image_size": 64, "num_labels": 5} | SMALL | arguments))
    )


def resnet() -> nn.Module:
    return transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=7)
    )


def convnext() -> nn.Module:
    return transformers.ConvNextForImageClassification(
        transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=3)
    )


MODELS = {
    "vit": (vit, lambda: transformers.ViTImageProcessor(size={"height": 64, "width": 64}, **IMAGENET)),
    "vit_grey": (
        lambda: vit(num_channels=1),
        lambda: transformers.ViTImageProcessor(
            size={"height": 64, "width": 64}, image_mean=[0.3], image_std=[0.2]
        ),
    ),
    "resnet": (
        resnet,
        lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
    ),
    "convnext": (
        convnext,
        lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 384}, **IMAGENET),
    ),
    "deit": (resnet, transformers.DeiTImageProcessor),
    "levit": (resnet, transformers.LevitImageProcessor),
}


def saved(folder: Path, network: nn.Module, processor: Any = None) -> str:
    network.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return f"transformers:{folder}"


def photograph(size: tuple[int, int], kind: str, mode: str) -> Image.Image:
    """Return a picture as it is read from a PNG or JPEG file."""
    coarse = np.random.default_rng(sum(size)).integers(
        0, 256, (size[1] // 7, size[0] // 7, 3), dtype=np.uint8
    )
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    picture.save(file, kind)
    return Image.open(file)


def as_ours(classifier: Classifier, picture: Image.Image) -> torch.Tensor:
    """Return the tensor that the network gets."""
    pixels = torch.from_numpy(View.of(classifier).apply(picture).copy()).float() / 255
    return (pixels[None] - classifier.mean) / classifier.std


@pytest.mark.parametrize("name", MODELS)
def test_transformers_images_and_logits_are_their_own(name: str, tmp_path: Path) -> None:
    network, processor = MODELS[name]
    reference = saved(tmp_path / "model", network(), processor())
    classifier = load_classifier(reference)
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "model").eval()
    mode = "L" if classifier.channels == 1 else "RGB"
    for kind in ("PNG", "JPEG"):
        for backend, most_levels in (("pil", 0.01), ("torchvision", 2.01)):
            process = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model", backend=backend)
            for size in SIZES:
                picture = photograph(size, kind, mode)
                expected = process(picture, return_tensors="pt")["pixel_values"]
                levels = (as_ours(classifier, picture) - expected).abs() * classifier.std * 255
                assert levels.max() < most_levels
                assert levels.mean() < 0.2
    images = torch.rand(3, classifier.channels, classifier.image_size, classifier.image_size)
    with torch.no_grad():
        expected = theirs((images - classifier.mean) / classifier.std).logits
    assert torch.equal(classifier(images), expected)


def test_a_worker_builds_it_without_the_folder(tmp_path: Path) -> None:
    reference = saved(tmp_path / "model", vit(), MODELS["vit"][1]())
    checkpoint = read_checkpoint(reference)
    images = torch.rand(2, 3, 64, 64)
    expected = build_classifier(checkpoint)(images)
    for file in (tmp_path / "model").iterdir():
        file.unlink()
    assert checkpoint.name == "transformers:model"
    assert torch.equal(build_classifier(checkpoint)(images), expected)
    assert str(checkpoint.definition).startswith("transformers ")


def test_a_fixed_size_is_told_apart(tmp_path: Path) -> None:
    fixed = load_classifier(saved(tmp_path / "vit", vit(), MODELS["vit"][1]()))
    free = load_classifier(saved(tmp_path / "resnet", resnet(), MODELS["resnet"][1]()))
    assert prepare(fixed, device="cpu").view_size(32) == 64
    assert prepare(free, device="cpu").view_size(112) == 112


def test_labels_are_those_of_the_configuration(tmp_path: Path) -> None:
    named = saved(tmp_path / "a", vit(id2label={0: "cat", 1: "dog"}, num_labels=2), MODELS["vit"][1]())
    assert load_classifier(named).class_names == ("cat", "dog")
    numbered = saved(tmp_path / "b", vit(), MODELS["vit"][1]())
    assert load_classifier(numbered).class_names == ("0", "1", "2", "3", "4")
    lite = load_classifier("efficientnet_lite0", weights="untrained")
    synonyms = {index: f"{name}, another name" for index, name in enumerate(lite.class_names)}
    imagenet = saved(tmp_path / "c", vit(id2label=synonyms, num_labels=1000), MODELS["vit"][1]())
    assert load_classifier(imagenet).wnids == lite.wnids


def test_weights_of_another_training_come_with_their_head(tmp_path: Path) -> None:
    reference = saved(tmp_path / "five", vit(), MODELS["vit"][1]())
    other = saved(tmp_path / "three", vit(num_labels=3), MODELS["vit"][1]())
    before = torch.get_rng_state()
    classifier = load_classifier(reference, weights=str(tmp_path / "three" / "model.safetensors"))
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(classifier(images), load_classifier(other)(images))


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "attrib_core.classifiers.transformers_models", raising=False)
    with pytest.raises(ValueError, match=r"accepted after pip install 'attrib-sweeps\[transformers\]'"):
        load_classifier("transformers:org/name")


def hub_folder(folder: Path, network: nn.Module, **configuration: Any) -> str:
    save_for_hf(network, folder, model_config=configuration or None, safe_serialization=True)
    return f"hf-hub:{folder}"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {"num_classes": 4}),
        ("vit_tiny_patch16_224", {"num_classes": 3, "img_size": 64}),
        ("convnext_atto", {"num_classes": 10, "in_chans": 1}),
    ],
)
def test_timm_images_and_logits_are_its_own(name: str, arguments: dict[str, int], tmp_path: Path) -> None:
    reference = hub_folder(tmp_path / "model", timm.create_model(name, **arguments))
    classifier = load_classifier(reference)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    transform = create_transform(**resolve_data_config({}, model=theirs))
    if classifier.channels == 3:
        for kind in ("PNG", "JPEG"):
            for size in SIZES:
                picture = photograph(size, kind, "RGB")
                difference = as_ours(classifier, picture)[0] - transform(picture.convert("RGB"))
                assert difference.abs().max() < 1e-5
    images = torch.rand(2, classifier.channels, classifier.image_size, classifier.image_size)
    with torch.no_grad():
        expected = theirs((images - classifier.mean) / classifier.std)
    assert torch.equal(classifier(images), expected)
    assert classifier.num_classes == arguments["num_classes"]


def test_timm_labels_are_those_of_the_configuration(tmp_path: Path) -> None:
    reference = hub_folder(
        tmp_path / "m", timm.create_model("resnet18", num_classes=2), label_names=["cat", "dog"]
    )
    assert load_classifier(reference).class_names == ("cat", "dog")


# An exported program


def exported(file: Path, batch: bool = True) -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    ).eval()
    shapes = ({0: torch.export.Dim("batch")},) if batch else None
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 28, 28),), dynamic_shapes=shapes), file)
    return network


def test_an_exported_program_is_its_network(tmp_path: Path) -> None:
    network = exported(tmp_path / "net.pt2")
    checkpoint = read_checkpoint(str(tmp_path / "net.pt2"))
    (tmp_path / "net.pt2").unlink()
    classifier = build_classifier(checkpoint)
    images = torch.rand(5, 1, 28, 28, requires_grad=True)
    assert torch.equal(classifier(images), network(images))
    ours, theirs = (torch.autograd.grad(each(images).sum(), images)[0] for each in (classifier, network))
    assert torch.equal(ours, theirs)
    assert (classifier.name, classifier.image_size, classifier.num_classes) == ("net.pt2", 28, 10)


def test_weights_of_a_file_fit_an_exported_program(tmp_path: Path) -> None:
    network = exported(tmp_path / "net.pt2")
    for tensor in network.parameters():
        nn.init.normal_(tensor)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    classifier = load_classifier(str(tmp_path / "net.pt2"), weights=str(tmp_path / "weights.pt"))
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(classifier(images), network(images))


MISTAKES = {
    "no such folder": ("transformers:./nothing", {}, "no such folder"),
    "not reachable": ("transformers:org/name", {}, "could it be fetched from the Hugging Face hub"),
    "hub not reachable": ("hf-hub:org/name", {}, "could it be fetched from the Hugging Face hub"),
    "no name": ("transformers", {}, "accepted is transformers:org/name or transformers:FOLDER"),
    "a setting": ("hf-hub:timm_format:depth=3", {}, "depth=3 is no setting of it"),
    "no configuration": ("transformers:empty", {}, "no config.json in it"),
    "no classifier": ("transformers:text", {}, "a bert is no image classifier"),
    "code in the folder": ("transformers:with_code", {}, "is no configuration of an image classifier"),
    "no head": ("transformers:headless", {}, "its file lacks the weights classifier.bias, classifier.weight"),
    "pickled weights": ("transformers:pickled", {}, "its weights cannot be read"),
    "no processor": ("transformers:bare", {}, "no preprocessor_config.json in it; accepted with --mean"),
    "oblong": ("transformers:oblong", {}, "gives images of .*accepted are square ones"),
    "flipped channels": ("transformers:flipped", {}, "does something else than to resize"),
    "not timm's": ("hf-hub:bare", {}, "is not in timm's format.*transformers:NAME"),
    "not of transformers": (
        "transformers:timm_format",
        {},
        "in timm's format; accepted as hf-hub:timm_format",
    ),
    "unknown network": ("hf-hub:unknown", {}, "has no architecture 'resnet_18'; near matches are"),
    "weights of another": ("hf-hub:mixed", {}, "is of another network"),
    "no weights": ("hf-hub:no_weights", {}, "no weights in it; accepted are model.safetensors"),
    "channels": ("transformers:bare", {"description": Description(mean=[0.5], std=[0.5])}, "takes 3"),
    "no program": ("nothing.pt2", {}, "no file 'nothing.pt2'"),
    "bytes": ("bytes.pt2", {}, "no exported program .*accepted is what torch.export.save writes"),
    "one batch": ("one.pt2", {}, "exported for batches of 2, it fails on one of 1.*dynamic_shapes"),
    "untrained program": ("net.pt2", {"weights": "untrained"}, "has its weights inside"),
    "setting of a program": ("net.pt2:depth=3", {}, "has no settings"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folders")
    (root / "empty").mkdir()
    saved(
        root / "text",
        transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, vocab_size=9)),
    )
    saved(root / "bare", vit())
    saved(root / "with_code", vit(), MODELS["vit"][1]())
    configuration = json.loads((root / "with_code" / "config.json").read_text())
    configuration |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}
    (root / "with_code" / "config.json").write_text(json.dumps(configuration))
    (root / "with_code" / "evil.py").write_text("raise SystemExit('ran')\n")
    headless = transformers.ViTModel(transformers.ViTConfig(patch_size=16, image_size=64, **SMALL))
    saved(root / "headless", headless, MODELS["vit"][1]())
    saved(root / "pickled", vit(), MODELS["vit"][1]())
    torch.save(vit().state_dict(), root / "pickled" / "pytorch_model.bin")
    (root / "pickled" / "model.safetensors").unlink()
    saved(root / "oblong", resnet(), transformers.ViTImageProcessor(size={"height": 64, "width": 96}))
    saved(root / "flipped", resnet(), transformers.MobileViTImageProcessor())
    for name in ("timm_format", "unknown", "mixed", "no_weights"):
        hub_folder(root / name, timm.create_model("resnet18", num_classes=4))
    content = (root / "unknown" / "config.json").read_text().replace('"resnet18"', '"resnet_18"')
    (root / "unknown" / "config.json").write_text(content)
    content = (root / "mixed" / "config.json").read_text().replace('"resnet18"', '"resnet34"')
    (root / "mixed" / "config.json").write_text(content)
    (root / "no_weights" / "model.safetensors").unlink()
    (root / "bytes.pt2").write_bytes(b"no archive")
    exported(root / "one.pt2", batch=False)
    exported(root / "net.pt2")
    return root


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    name, arguments, expected = MISTAKES[mistake]
    with pytest.raises(ValueError, match=expected) as refused:
        load_classifier(name, **arguments)
    assert "\n" not in str(refused.value)
