"""Files of weights: read whatever wrapped them, and refused with the reason if they are bad."""

import functools
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from attrib_core.classifiers import Checkpoint, load_classifier, read_checkpoint

SMALL = "shufflenet_v2_x0_5"
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@pytest.fixture(scope="session")
def resnet18() -> nn.Module:
    """A network with random weights, and batch-norm statistics that are not the initial ones."""
    return with_random_statistics(torchvision.models.get_model("resnet18", weights=None))


@pytest.fixture(scope="session")
def small() -> nn.Module:
    """A network whose file is of five megabytes, where the architecture does not matter."""
    return with_random_statistics(torchvision.models.get_model(SMALL, weights=None))


@pytest.fixture(scope="session")
def small_digest(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("small") / "plain.pth"
    torch.save(small.state_dict(), file)
    return read_checkpoint(SMALL, weights=str(file)).digest


def with_random_statistics(network: nn.Module) -> nn.Module:
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def some_images(batch_size: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_digest_is_that_of_the_weights_not_of_the_file(
    lite0_checkpoint: Checkpoint, wheel_file: Path, tmp_path: Path
) -> None:
    theirs = torch.load(wheel_file, weights_only=True)
    ours = {name: torch.from_numpy(array) for name, array in lite0_checkpoint.state.items()}
    theirs = {name: tensor.contiguous() for name, tensor in theirs.items()}
    safetensors.torch.save_file(theirs, tmp_path / "theirs.safetensors")  # sorts the tensors by name
    safetensors.torch.save_file(ours, tmp_path / "ours.safetensors")
    torch.save(ours, tmp_path / "ours.pth")
    torch.save(ours, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    files = [
        wheel_file,
        *(tmp_path / name for name in ("theirs.safetensors", "ours.safetensors", "ours.pth")),
    ]
    for file in [*files, tmp_path / "legacy.bin"]:
        assert read_checkpoint("efficientnet_lite0", weights=str(file)).digest == lite0_checkpoint.digest, (
            file
        )


def test_the_digest_sees_a_single_changed_value(small: nn.Module, small_digest: str, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    state["fc.bias"][7] += 1e-6
    torch.save(state, tmp_path / "other.pth")
    assert read_checkpoint(SMALL, weights=str(tmp_path / "other.pth")).digest != small_digest


@functools.cache
def torchvision_network(name: str, transform_input: bool) -> nn.Module:
    # Files of these two hold the auxiliary heads of training; the classifier gives logits alone.
    arguments = (
        {"transform_input": transform_input, "aux_logits": True, "init_weights": False}
        if name in ("inception_v3", "googlenet")
        else {}
    )
    return with_random_statistics(torchvision.models.get_model(name, weights=None, **arguments))


@pytest.mark.parametrize(
    ("name", "transform_input"),
    [
        ("resnet18", False),
        ("mobilenet_v3_small", False),
        ("inception_v3", True),
        ("googlenet", True),
        ("googlenet", False),
    ],
)
# Of files in this format a test below, of MNASNet, shows the same.
@pytest.mark.parametrize("suffix", [".pth", pytest.param(".safetensors", marks=pytest.mark.long)])
def test_a_torchvision_file_gives_torchvisions_own_outputs(
    name: str, transform_input: bool, suffix: str, tmp_path: Path
) -> None:
    original = torchvision_network(name, transform_input)
    file = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(original.state_dict(), file)
    images = some_images(size=96)
    reference = f"{name}:transform_input=true" if transform_input else name
    logits = load_classifier(reference, weights=str(file))(images)
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
def test_training_scripts_checkpoints_are_unwrapped(
    wrap, small: nn.Module, small_digest: str, tmp_path: Path
) -> None:
    torch.save(wrap(small.state_dict()), tmp_path / "wrapped.pth")
    assert read_checkpoint(SMALL, weights=str(tmp_path / "wrapped.pth")).digest == small_digest


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
    kind: str, small: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, reason = BAD_FILES[kind]
    write(tmp_path / "bad.pth", small)
    with pytest.raises(ValueError, match=rf"bad\.pth'.*{reason}"):
        read_checkpoint(SMALL, weights=str(tmp_path / "bad.pth"))
    assert not (tmp_path / "code-has-run").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0001, 0.5, 0.9999])
def test_a_truncated_file_is_refused(suffix: str, share: float, small: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(small.state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"weights\{suffix}'.*truncated"):
        read_checkpoint(SMALL, weights=str(file))


def test_a_missing_file_is_told_from_the_weights_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pth'.*IMAGENET1K_V1', 'untrained' or a file that there is"):
        read_checkpoint("resnet18", weights=str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"'ResNet50_Weights.IMAGENET1K_V1'.*weights of resnet18"):
        read_checkpoint("resnet18", weights="ResNet50_Weights.IMAGENET1K_V1")


def test_weights_of_another_architecture_are_told_apart(resnet18: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"not for mobilenet_v2.*missing features.*more; unexpected conv1"):
        read_checkpoint("mobilenet_v2", weights=str(tmp_path / "weights.pth"))
    with pytest.raises(ValueError, match=r"of another shape .*conv1\.weight \[64, 64, 3, 3\] instead of"):
        read_checkpoint("resnet50", weights=str(tmp_path / "weights.pth"))
