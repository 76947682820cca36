"""Checkpoints as people have them: each gives the logits of the network that was saved, or one clear line."""

import argparse
import datetime
import re
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.utils.prune
import torchvision
from torch import Tensor, nn

from attrib_core.classifiers import (
    Architecture,
    Description,
    Labels,
    Preprocessing,
    build_classifier,
    read_checkpoint,
    register,
    registry,
)
from attrib_core.classifiers.checkpoint_layouts import find_weights
from attrib_core.classifiers.registry import find_architecture
from attrib_core.classifiers.stored_images import Expected, images_of_file
from attrib_core.classifiers.weights_files import weights_files, weights_name

MODEL = "test_resnet"  # timm's smallest
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
State = Mapping[str, Tensor]


def network(name: str = MODEL, *, seed: int = 0, **options: Any) -> nn.Module:
    """Return a network of timm with weights and batch-norm statistics of its own."""
    torch.manual_seed(seed)
    return with_statistics(timm.create_model(name, **{"num_classes": 5} | options))


def with_statistics(module: nn.Module) -> nn.Module:
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module.eval()


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def cast(state: State, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }


def scaling(prefix: str, mean: Any, std: Any, mean_name: str = "mean", std_name: str = "std") -> State:
    return {f"{prefix}{mean_name}": torch.tensor(mean), f"{prefix}{std_name}": torch.tensor(std)}


OURS, OTHERS = network(), network(seed=1)
STATE, OTHER = OURS.state_dict(), OTHERS.state_dict()
OPTIMIZER = {
    "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3)}},
    "param_groups": [{"lr": 0.1}],
}
NORMALIZER = scaling("normalizer.", [[[[0.5]], [[0.4]], [[0.3]]]], [[[[0.2]], [[0.25]], [[0.3]]]])
ARGUMENTS = argparse.Namespace(
    lr=0.1, output=Path("/data/run"), best=np.float64(0.9), start=datetime.date(2024, 1, 2)
)

# Content of the file, and what the notes say. The network is that of `OURS`.
READ: dict[str, tuple[Any, str]] = {
    "plain": (STATE, "^$"),
    "plain dict": (dict(STATE), "^$"),
    "net beside acc and epoch": ({"net": STATE, "acc": 91.2, "epoch": 3}, "from net; ignored acc, epoch"),
    "model_state_dict": (
        {"model_state_dict": STATE, "optimizer_state_dict": OPTIMIZER}, "read from model_state_dict; ignored"
    ),
    "network": ({"network": STATE}, "read from network"),
    "a key of their own": ({"my_weights": STATE, "epoch": 3}, "read from my_weights; ignored epoch"),
    "data parallel": (prefixed("module.", STATE), "read from module"),
    "data parallel in a dictionary": ({"net": prefixed("module.", STATE), "acc": 0.9}, "read from net.module"),
    "compiled and parallel": (prefixed("_orig_mod.module.", STATE), "read from _orig_mod.module"),
    "parallel and compiled": (prefixed("module._orig_mod.", STATE), "read from module._orig_mod"),
    "prefix net": (prefixed("net.", STATE), "read from net"),
    "prefix network": (prefixed("network.", STATE), "read from network"),
    "prefix backbone": (prefixed("backbone.", STATE), "read from backbone"),
    "prefix timm_model": (prefixed("timm_model.", STATE), "read from timm_model"),
    "prefix of their own": (prefixed("encoder.body.", STATE), "read from encoder.body"),
    "lightning": (
        {
            "epoch": 9,
            "global_step": 100,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": OrderedDict(prefixed("model.", STATE)),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [OPTIMIZER],
            "lr_schedulers": [{"last_epoch": 9}],
            "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 0.1},
        },
        "read from state_dict.model; ignored epoch",
    ),
    "lightning with a criterion and metrics": (
        {"state_dict": prefixed("model.", STATE)
         | {"criterion.weight": torch.ones(5), "train_acc.tp": torch.ones(5), "val_metrics.f1.tp": torch.ones(5)}},
        "ignored state_dict.criterion, state_dict.train_acc, state_dict.val_metrics",
    ),
    "timm's script without an average": (
        {"epoch": 3, "arch": MODEL, "state_dict": STATE, "optimizer": OPTIMIZER, "version": 2, "args": ARGUMENTS,
         "amp_scaler": {"scale": 65536.0}, "metric": np.float64(0.9)},
        "ignored epoch, arch, optimizer, version, args, amp_scaler, metric",
    ),
    "an average alone": ({"state_dict_ema": STATE, "epoch": 3}, "read from state_dict_ema, a moving average"),
    "model_ema of torchvision": (
        {"model_ema": {"n_averaged": torch.tensor(5), **prefixed("module.", STATE)}, "args": ARGUMENTS},
        "read from model_ema.module, a moving average; ignored args, model_ema.n_averaged",
    ),
    "stochastic weight averaging": (
        {"n_averaged": torch.tensor(5), **prefixed("module.", STATE)}, "ignored n_averaged"
    ),
    "an average equal to the weights": (
        {"state_dict": STATE, "state_dict_ema": dict(STATE)}, "read from state_dict; ignored state_dict_ema"
    ),
    "fastai": ({"model": STATE, "opt": OPTIMIZER}, "read from model; ignored opt"),
    "deepspeed": (
        {"module": STATE, "buffer_names": [], "optimizer": None, "param_shapes": [{"fc.bias": torch.Size([5])}],
         "ds_config": {"zero": 0}, "global_steps": 3, "mp_world_size": 1},
        "read from module; ignored buffer_names",
    ),
    "figures of a training that have a mean": (
        {"model": STATE, "history": {"mean": [0.3, 0.2, 0.1], "std": [0.1] * 3}, "loss_mean": [0.3, 0.2, 0.1],
         "acc_mean": 0.9, "acc_std": 0.01, "sigma": 0.25, "args": {"init_std": 0.02, "std": 0.02, "mu": 0.9},
         "init": {"mean": 0.0, "std": 0.02}, "cv": {"mean": 0.93, "std": 0.06}},
        "ignored history, loss_mean, acc_mean, acc_std, sigma, args, init, cv$",
    ),
    "timm's arguments without a mean": (
        {"state_dict": STATE, "args": argparse.Namespace(mean=None, std=None, lr=0.1)}, "ignored args$"
    ),
    "tensors beside a script's keys": (
        {"model": STATE, "class_weights": torch.ones(5), "rng_state": torch.zeros(9, dtype=torch.uint8)},
        "ignored class_weights, rng_state",
    ),
    "defaultdict and numpy": (
        {"model": STATE, "log": defaultdict(list, {"loss": [np.float32(1.0)]}), "curve": np.zeros(3)},
        "ignored log.*curve|ignored log, curve",
    ),
    "counts of a profiler": (
        {**STATE, "total_ops": torch.tensor(1.0), "layer1.total_params": torch.tensor(2.0)}, "ignored total_ops"
    ),
    "a number among the tensors": ({**STATE, "epoch": 3}, "ignored epoch"),
    "double precision": (cast(STATE, torch.float64), "^$"),
}  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    def save(content: Any, name: str = "checkpoint.pth", **options: Any) -> str:
        torch.save(content, tmp_path / name, **options)
        return str(tmp_path / name)

    return save


def images(size: int = 64, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def normalized(pixels: Tensor, mean: Any, std: Any) -> Tensor:
    return (pixels - torch.as_tensor(mean).view(1, -1, 1, 1)) / torch.as_tensor(std).view(1, -1, 1, 1)


def noted(checkpoint: Any) -> str:
    """Return what is said of the file itself, without the warning about classes."""
    prefix = f"weights={checkpoint.weights!r}: "
    said = [note.removeprefix(prefix) for note in checkpoint.notes]
    return "; ".join(note for note in said if "classes, not the" not in note)


@pytest.mark.parametrize("kind", READ)
def test_the_logits_are_those_of_the_network_that_was_saved(kind: str, saved) -> None:
    content, said = READ[kind]
    checkpoint = read_checkpoint(MODEL, weights=saved(content))
    classifier = build_classifier(checkpoint)
    assert torch.equal(classifier(images()), OURS(normalized(images(), classifier.mean, classifier.std)))
    assert re.search(said, noted(checkpoint))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_carry_its_rounding_and_that_is_said(dtype: torch.dtype, saved) -> None:
    checkpoint = read_checkpoint(MODEL, weights=saved(cast(STATE, dtype)))
    rounded = network()
    rounded.load_state_dict(cast(cast(STATE, dtype), torch.float32))
    assert torch.equal(build_classifier(checkpoint).network(images()), rounded(images()))
    name = str(dtype).removeprefix("torch.")
    assert noted(checkpoint) == f"stored as {name}: results carry the rounding of the weights"


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "last.ckpt", "best.pth.tar", "model"]
)
def test_the_format_is_told_by_the_content(name: str, saved, tmp_path: Path) -> None:
    if name.endswith("safetensors"):
        safetensors.torch.save_file(prefixed("timm_model.", STATE), tmp_path / name)
    else:
        saved(prefixed("timm_model.", STATE), name)
    classifier = build_classifier(read_checkpoint(MODEL, weights=str(tmp_path / name)))
    assert torch.equal(classifier.network(images()), OURS(images()))


# Which of several


BOTH = {"state_dict": STATE, "state_dict_ema": OTHER, "optimizer": OPTIMIZER, "args": ARGUMENTS}
FORKS = {
    "timm's script": (BOTH, ["state_dict", "state_dict_ema"]),
    "torchvision's references": (
        {"model": STATE, "model_ema": {"n_averaged": torch.tensor(1), **prefixed("module.", OTHER)}},
        ["model", "model_ema"],
    ),
    "lightning": (
        {"state_dict": {**prefixed("model.", STATE), **prefixed("model_ema.module.", OTHER)}},
        ["state_dict.model", "state_dict.model_ema"],
    ),
    "ema_pytorch": (
        {**prefixed("online_model.", STATE), **prefixed("ema_model.", OTHER), "initted": torch.tensor([True])},
        ["online_model", "ema_model"],
    ),
    "distillation": ({"student": STATE, "teacher": OTHER}, ["student", "teacher"]),
    "a teacher in the module": (
        {"state_dict": {**prefixed("model.", STATE), **prefixed("teacher.", OTHER)}},
        ["state_dict.model", "state_dict.teacher"],
    ),
    "a generator and a discriminator": ({"netG": STATE, "netD": OTHER}, ["netG", "netD"]),
    "a callback's average": (
        {"state_dict": STATE, "callbacks": {"EMA": {"ema_state_dict": OTHER}}}, ["state_dict", "callbacks"]
    ),
    "an optimizer's slow weights": ({"model": STATE, "optimizer": {"slow": OTHER}}, ["model", "optimizer"]),
    "a list": ({"models": [STATE, OTHER]}, ["models.0", "models.1"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORKS)
def test_two_sets_of_weights_are_named_and_each_can_be_chosen(kind: str, saved) -> None:
    content, keys = FORKS[kind]
    file = saved(content)
    choices = " or ".join(f"FILE#{key}" for key in keys)
    with pytest.raises(
        ValueError, match=rf"checkpoint\.pth': holds 2 sets of weights, .*accepted is {choices}"
    ):
        read_checkpoint(MODEL, weights=file)
    for key, source in zip(keys, (OURS, OTHERS), strict=True):
        classifier = build_classifier(read_checkpoint(MODEL, weights=f"{file}#{key}"))
        assert torch.equal(classifier.network(images()), source(images()))


def test_a_key_that_is_not_there_is_answered_with_those_that_are(saved) -> None:
    with pytest.raises(ValueError, match=r"no weights under 'ema'; accepted are state_dict, state_dict_ema$"):
        read_checkpoint(MODEL, weights=f"{saved(BOTH)}#ema")
    with pytest.raises(ValueError, match="no weights under 'args'; accepted are"):
        read_checkpoint(MODEL, weights=f"{saved(BOTH)}#args")
    with pytest.raises(ValueError, match=r"none\.pth#ema'.*neither a file nor weights of test_resnet"):
        read_checkpoint(MODEL, weights="none.pth#ema")


def test_a_files_own_name_may_hold_the_sign(saved) -> None:
    assert read_checkpoint(MODEL, weights=saved(STATE, "run#3.pth")).num_classes == 5
    with pytest.raises(ValueError, match=r"#4\.pth': holds 2 sets"):
        read_checkpoint(MODEL, weights=saved(BOTH, "run#4.pth"))
    assert "a moving average" in noted(
        read_checkpoint(MODEL, weights=f"{saved(BOTH, 'run#4.pth')}#state_dict_ema")
    )


# A normaliser in the file


NORMALIZED: dict[str, tuple[Any, Any]] = {
    "beside model": ({**prefixed("model.", STATE), **NORMALIZER}, ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))),
    "among the network's own": ({**STATE, **NORMALIZER}, ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))),
    "one number": (
        {**prefixed("1.", STATE), **scaling("0.", [0.5], [0.25])}, ((0.5,) * 3, (0.25,) * 3)
    ),
    "mu and sigma": (
        {**prefixed("model.", STATE), **scaling("", *IMAGENET, "mu", "sigma")}, IMAGENET
    ),
    "of the script": ({"state_dict": STATE, "mean": [0.5, 0.4, 0.3], "std": (0.2, 0.2, 0.2)},
                      ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))),
    "single numbers of the script": ({"net": STATE, "mean": 0.5, "std": 0.25}, ((0.5,) * 3, (0.25,) * 3)),
    "tensors without dimensions": (
        {"net": STATE, "mean": torch.tensor(0.5), "std": torch.tensor(0.25)}, ((0.5,) * 3, (0.25,) * 3)
    ),
    "arrays of numpy": ({"net": STATE, "mean": np.array(IMAGENET[0]), "std": np.array(IMAGENET[1])}, IMAGENET),
    "arrays of single precision": (
        {"net": STATE, "mean": np.array([0.5, 0.4, 0.3], "<f4"), "std": np.array([0.5, 0.25, 0.5], ">f4")},
        ((0.5, 0.4, 0.3), (0.5, 0.25, 0.5)),
    ),
    "numbers of numpy": (
        {"net": STATE, "mean": [np.float64(x) for x in IMAGENET[0]], "std": tuple(map(np.float32, IMAGENET[1]))},
        IMAGENET,
    ),
    "mean_rgb": ({"net": STATE, "mean_rgb": IMAGENET[0], "std_rgb": IMAGENET[1]}, IMAGENET),
    "in camel case": ({"net": STATE, "imageMean": IMAGENET[0], "imageStd": IMAGENET[1]}, IMAGENET),
    "hyper_parameters": (
        {"state_dict": prefixed("model.", STATE), "hyper_parameters": {"lr": 0.1, "mean": 0.5, "std": 0.25}},
        ((0.5,) * 3, (0.25,) * 3),
    ),
    "meta": (
        {"state_dict": STATE, "meta": {"classes": ["a", "b"], "norm": {"mean": IMAGENET[0], "std": IMAGENET[1]}}},
        IMAGENET,
    ),
    "timm's arguments": (
        {"state_dict": STATE, "args": argparse.Namespace(mean=[0.5, 0.4, 0.3], std=[0.2] * 3, lr=0.1)},
        ((0.5, 0.4, 0.3), (0.2,) * 3),
    ),
    "the same twice": (
        {"state_dict": {**prefixed("model.", STATE), **scaling("norm.", [0.5] * 3, [0.25] * 3)},
         "hyper_parameters": {"mean": 0.5, "std": 0.25}},
        ((0.5,) * 3, (0.25,) * 3),
    ),
    "robustness": (
        {"model": {
            **scaling("module.normalizer.", *IMAGENET, "new_mean", "new_std"), **prefixed("module.model.", STATE),
            **scaling("module.attacker.normalize.", *IMAGENET, "new_mean", "new_std"),
            **prefixed("module.attacker.model.", STATE)}, "epoch": 3},
        IMAGENET,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NORMALIZED)
def test_a_normaliser_is_applied_and_said(kind: str, saved) -> None:
    content, (mean, std) = NORMALIZED[kind]
    file = saved(content)
    checkpoint = read_checkpoint(MODEL, weights=file)
    torch.testing.assert_close(
        build_classifier(checkpoint)(images()), OURS(normalized(images(), mean, std)), rtol=0, atol=1e-5
    )
    assert "of the file scale the images: mean " in noted(checkpoint)
    assert checkpoint.digest != read_checkpoint(MODEL, weights=saved(STATE, "plain.pth")).digest
    agreeing = Description(mean=mean, std=std)
    assert read_checkpoint(MODEL, weights=file, description=agreeing).digest == checkpoint.digest
    with pytest.raises(
        ValueError, match=r"mean=0\.1,0\.1,0\.1 and std=.*the file has .*accepted is its own mean"
    ):
        read_checkpoint(MODEL, weights=file, description=Description(mean=(0.1,) * 3, std=(0.5,) * 3))


UNCLEAR: dict[str, Any] = {
    "a mean alone": {"net": STATE, "hyper_parameters": {"mean": [0.5, 0.4, 0.3]}},
    "two that differ": {"net": STATE, "mean": 0.5, "std": 0.25, "args": {"mean": 0.4, "std": 0.25}},
    "pixels to 255": {"net": STATE, "meta": {"img_norm_cfg": {"mean": [123.7] * 3, "std": [58.4] * 3}}},
    "a pair": {"net": STATE, "normalization": IMAGENET},
    "fastai's stats": {"net": STATE, "stats": [list(IMAGENET[0]), list(IMAGENET[1])]},
    "a caffe network's": {"net": STATE, "pixel_mean": [123.7, 116.3, 103.5], "pixel_std": [1.0, 1.0, 1.0]},
    "a name": {"net": STATE, "args": argparse.Namespace(normalize="imagenet")},
    "blue first": {"net": STATE, "mean_bgr": IMAGENET[0], "std_bgr": IMAGENET[1]},
    "of an accuracy, perhaps": {"net": STATE, "mean": 0.9, "std": 0.01},
    "of noise, perhaps": {"net": STATE, "augment": {"mean": 0.0, "std": 0.1}},
    "text": {"net": STATE, "mean": np.array(["a"]), "std": np.ones(3)},
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_scaling_that_is_unclear_is_asked_for_and_the_answer_taken(kind: str, saved) -> None:
    file = saved(UNCLEAR[kind])
    with pytest.raises(ValueError, match=r"checkpoint\.pth': .*: give them as --mean and --std") as refused:
        read_checkpoint(MODEL, weights=file)
    assert "\n" not in str(refused.value)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    checkpoint = read_checkpoint(MODEL, weights=file, description=Description(mean=mean, std=std))
    assert (checkpoint.preprocessing.mean, checkpoint.preprocessing.std) == (mean, std)
    assert "mean and std are those given, not " in noted(checkpoint)


def test_a_network_that_normalises_itself_is_not_normalised_twice() -> None:
    own = {**prefixed("model.", STATE), **scaling("norm.", *IMAGENET)}
    assert find_weights({"state_dict": own}, own).state.keys() == own.keys()
    stored = find_weights({"state_dict": own, "mean": [0.5] * 3, "std": [0.5] * 3}, own)
    assert stored.scaling is None
    assert re.match(
        r"mean, std: beside norm\.mean of the network itself, which would scale .* twice", stored.doubt
    )


# Weights in factors


def factored(make: Callable[[nn.Linear], object], *, passes: int = 3) -> nn.Module:
    """Return the network after some passes in train mode, which a spectral norm's vectors change with."""
    module = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # files of the older functions are as common as before
        make(module.fc)
    module.train()
    for _ in range(passes):
        module(images())
    return module.eval()


def prune(layer: nn.Linear) -> None:
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    torch.nn.utils.prune.random_unstructured(layer, "bias", 2)
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)


FACTORED: dict[str, Callable[[nn.Linear], object]] = {
    "pruned": prune,
    "weight_norm": torch.nn.utils.weight_norm,
    "weight_norm of one number": lambda layer: torch.nn.utils.weight_norm(layer, dim=None),
    "spectral_norm": torch.nn.utils.spectral_norm,
    "parametrizations.weight_norm": torch.nn.utils.parametrizations.weight_norm,
    "parametrizations.weight_norm by inputs": lambda layer: torch.nn.utils.parametrizations.weight_norm(
        layer, dim=1
    ),
    "parametrizations.spectral_norm": torch.nn.utils.parametrizations.spectral_norm,
}


@pytest.mark.parametrize("wrap", [dict, lambda state: {"model": prefixed("module.", state)}])
@pytest.mark.parametrize("kind", FACTORED)
def test_weights_in_factors_are_read_as_their_product(kind: str, wrap, saved) -> None:
    source = factored(FACTORED[kind])
    checkpoint = read_checkpoint(MODEL, weights=saved(wrap(source.state_dict())))
    torch.testing.assert_close(
        build_classifier(checkpoint).network(images()), source(images()), rtol=1e-5, atol=1e-6
    )
    assert re.search(r"fc\.weight( and 1 more)?: (pruned|a weight norm|a spectral norm)", noted(checkpoint))


def test_a_network_of_ones_own_with_such_factors_takes_them_as_they_are() -> None:
    state = factored(torch.nn.utils.parametrizations.weight_norm).state_dict()
    assert find_weights(state, state).state.keys() == state.keys()


class SignAndSize(nn.Module):
    """A parametrisation of two tensors of one shape, as a weight norm's names have it."""

    def forward(self, size: Tensor, sign: Tensor) -> Tensor:
        return size.abs() * sign.sign()

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight.abs(), weight


def test_factors_that_would_be_multiplied_wrongly_are_refused() -> None:
    """A norm over the inputs of a square layer has factors of the shapes of one over its outputs."""
    parametrizations = torch.nn.utils.parametrizations
    square = nn.Linear(6, 6)
    parametrizations.spectral_norm(square, dim=1)
    signs = nn.Linear(6, 6)
    torch.nn.utils.parametrize.register_parametrization(signs, "weight", SignAndSize())
    for layer in (square, signs):
        with pytest.raises(
            ValueError, match=r"original0?: a parametrisation whose weight is not in the file"
        ):
            find_weights(layer.state_dict(), nn.Linear(6, 6).state_dict())


# Shapes that say which network it is


def replaced(name: str, place: str, layer: Callable[[int], nn.Module]) -> nn.Module:
    """Return a network with another head, which is made for a number of features."""
    module = network(name) if name in timm.list_models() else torchvision.models.get_model(name, weights=None)
    old = module.get_submodule(place)
    features = next(each for each in old.modules() if isinstance(each, nn.Linear)).in_features
    module.set_submodule(place, layer(features))
    return with_statistics(module)


HEADS = {
    "dropout and linear": (MODEL, "fc", lambda n: nn.Sequential(nn.Dropout(), nn.Linear(n, 3))),
    "linear in a sequential": (MODEL, "fc", lambda n: nn.Sequential(nn.Linear(n, 3))),
    "linear and softmax for the loss": (MODEL, "fc", lambda n: nn.Sequential(nn.Linear(n, 3), nn.Identity())),
    "batch norm and linear": (MODEL, "fc", lambda n: nn.Sequential(nn.BatchNorm1d(n), nn.Linear(n, 3))),
    "two linear": (MODEL, "fc", lambda n: nn.Sequential(nn.Linear(n, 7), nn.Linear(7, 3))),
    "without a bias": (MODEL, "fc", lambda n: nn.Linear(n, 3, bias=False)),
    "of a ViT": ("test_vit", "head", lambda n: nn.Sequential(nn.Dropout(), nn.Linear(n, 3))),
    "mobilenet's as one layer": (
        "mobilenet_v3_small",
        "classifier.3",
        lambda n: nn.Sequential(nn.Linear(n, 3)),
    ),
    "shufflenet's own": ("shufflenet_v2_x0_5", "fc", lambda n: nn.Linear(n, 3)),
    "the dropout beside it left out": ("mnasnet0_5", "classifier", lambda n: nn.Linear(n, 3)),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_its_shapes_show_is_rebuilt(kind: str, saved) -> None:
    name, place, layer = HEADS[kind]
    source = replaced(name, place, layer)
    classifier = build_classifier(read_checkpoint(name, weights=saved(source.state_dict())))
    pixels = images(160 if "vit" in name else 64)
    assert classifier.num_classes == 3
    assert torch.equal(classifier.network(pixels), source(pixels))


def test_a_layer_without_weights_before_the_head_is_noted(saved) -> None:
    source = replaced(*HEADS["dropout and linear"])
    said = noted(read_checkpoint(MODEL, weights=saved(source.state_dict())))
    assert said == "fc.0 has no weights in the file: taken for a dropout"


GREY = Description(mean=(0.5,), std=(0.25,))


def test_channels_are_those_of_the_file_if_their_scaling_is_known(saved) -> None:
    source = network(in_chans=1)
    file = saved(source.state_dict())
    with pytest.raises(
        ValueError, match=r"conv1.*\[\d+, 1, 3, 3\] instead of .*for 3 channels; accepted with --mean"
    ):
        read_checkpoint(MODEL, weights=file)
    described = read_checkpoint(MODEL, weights=file, description=GREY)
    classifier = build_classifier(described)
    pixels = images(channels=1)
    assert torch.equal(classifier(pixels), source((pixels - 0.5) / 0.25))
    stored = saved({**prefixed("model.", source.state_dict()), **scaling("norm.", [0.5], [0.25])}, "norm.pth")
    assert torch.equal(build_classifier(read_checkpoint(MODEL, weights=stored))(pixels), classifier(pixels))


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("test_vit", {"img_size": 96}, 96),
        ("test_vit", {"img_size": 32, "num_classes": 3}, 32),
    ],
)
def test_the_size_of_images_is_that_of_the_position_embeddings(
    name: str, options: dict[str, int], size: int, saved
) -> None:
    source = network(name, **options)
    file = saved(source.state_dict())
    checkpoint = read_checkpoint(name, weights=file)
    classifier = build_classifier(checkpoint)
    assert (classifier.image_size, classifier.preprocessing.resize_size) == (size, None)
    assert f"image_size {size}: pos_embed [1, " in noted(checkpoint)
    assert torch.equal(classifier.network(images(size)), source(images(size)))
    with pytest.raises(ValueError, match=f"image_size=64: pos_embed .* is for {size}; accepted is that"):
        read_checkpoint(name, weights=file, description=Description(image_size=64))


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("vit_b_32", "encoder.pos_embedding [1, 5, 768] instead of [1, 50, 768]"),
        ("deit_tiny_distilled_patch16_224", "pos_embed [1, 18, 192] instead of [1, 198, 192]"),  # two tokens
    ],
)
def test_the_tokens_of_classes_are_no_positions_of_the_image(name: str, difference: str) -> None:
    architecture = find_architecture(name)
    published = architecture.preprocessing(None)
    with torch.device("meta"):
        source = architecture.for_images(replace(published, image_size=64)).network(7, None)
        built = architecture.network(7, None)
    expected = Expected(
        architecture=architecture, network=built, preprocessing=published, description=Description()
    )
    preprocessing, said = images_of_file(source.state_dict(), expected, None)
    assert (preprocessing.image_size, preprocessing.resize_size) == (64, None)
    assert said == (f"image_size 64: {difference}",)


FAMILIES = [
    "deit_tiny_distilled_patch16_224", "levit_128s", "volo_d1_224", "crossvit_tiny_240", "efficientformer_l1",
    "convnext_atto", "visformer_tiny", "hrnet_w18_small", "repvgg_a0", "test_byobnet", "test_efficientnet",
]  # fmt: skip
TORCHVISION = ["squeezenet1_0", "convnext_tiny", "swin_t", "vit_b_32", "mnasnet0_5", "vgg11", "maxvit_t"]


@pytest.mark.parametrize("name", [*FAMILIES, *(f"torchvision:{each}" for each in TORCHVISION)])
def test_the_heads_are_what_the_architecture_calls_its_classifier(name: str) -> None:
    architecture = find_architecture(name)
    with torch.device("meta"):
        built = architecture.network(7, None)
    heads = architecture.heads(built)
    assert [len(built.get_submodule(head).weight) for head in heads] == [7] * len(heads)
    assert len(heads) == {"crossvit_tiny_240": 2, "deit_tiny_distilled_patch16_224": 2, "levit_128s": 2,
                          "volo_d1_224": 2, "efficientformer_l1": 2}.get(name, 1)  # fmt: skip


def test_a_norm_after_the_head_does_not_count_the_classes(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", {})

    class NormLast(Architecture):
        name, num_classes = "norm_last", 4

        def network(
            self, num_classes: int, weights_name: str | None, *, untrained: bool = False
        ) -> nn.Module:
            return NormFirst(num_classes)

        def fetch(self, weights_name: str) -> dict[str, Tensor]:
            raise AssertionError

        def preprocessing(self, weights_name: str | None) -> Preprocessing:
            return Preprocessing(mean=(0.0,), std=(1.0,), image_size=2)

        def labels(self, num_classes: int) -> Labels:
            return Labels.numbered(num_classes)

    register("norm_last")(NormLast)
    source = NormFirst(3).eval()
    classifier = build_classifier(read_checkpoint("norm_last", weights=saved(source.state_dict())))
    assert classifier.num_classes == 3


class NormFirst(nn.Module):
    """A network that applies a norm first and lists it last."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(4, num_classes)
        self.norm = nn.LayerNorm(4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.norm(pixels.flatten(1)))


# What is refused


class RunsCode:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("code-has-run"),)


def mlp_head(name: str = MODEL, place: str = "fc") -> State:
    return replaced(
        name, place, lambda n: nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, 3))
    ).state_dict()


def first_convolution(kernel: int, channels: int = 3) -> State:
    module = torchvision.models.resnet18(num_classes=3)
    module.conv1 = nn.Conv2d(channels, 64, kernel, bias=False)
    return module.state_dict()


def refused_scaling(mean: Any, std: Any) -> State:
    return {**prefixed("model.", STATE), **scaling("normalizer.", mean, std)}


LORA = {"fc.lora_A.weight": torch.zeros(2, OURS.fc.in_features), "fc.lora_B.weight": torch.zeros(5, 2)}
REFUSED: dict[str, tuple[str, Any, str]] = {
    "code beside the weights": (MODEL, {"state_dict": STATE, "hook": RunsCode()}, "could run code"),
    "code among the arguments": (
        MODEL, {"model": STATE, "args": argparse.Namespace(a=RunsCode())}, "could run code"
    ),
    "a pickled module": (MODEL, OURS, r"could run code \(timm\.models\.\w+\.\w+\); save `model\.state_dict"),
    "a module in a dictionary": (MODEL, {"epoch": 3, "model": OURS, "ema": None}, "could run code"),
    "no weights": (MODEL, {"epoch": 3, "args": ARGUMENTS}, "no state dict of tensors but a mapping of"),
    "an optimizer alone": (MODEL, {"optimizer": OPTIMIZER}, "no state dict of tensors but a mapping of"),
    "a namespace": (MODEL, ARGUMENTS, r"no state dict of tensors but a mapping of \['lr'"),
    "a list of tensors": (MODEL, [torch.zeros(3)], "no state dict of tensors but list"),
    "a further head": (
        MODEL, {**prefixed("backbone.", STATE), "head.weight": torch.zeros(2, 5)},
        r"head stands beside backbone and may belong to the network; accepted is FILE#backbone",
    ),
    "a further head by key": (
        MODEL, {"backbone": STATE, "head": {"weight": torch.zeros(2, 5)}}, "head stands beside backbone",
    ),
    "a temperature": (
        MODEL, {**prefixed("model.", STATE), "temperature": torch.ones(1)}, "temperature stands beside model"
    ),
    "a mean without a std": (
        MODEL, {**prefixed("model.", STATE), "normalizer.mean": torch.ones(3)}, "normalizer.mean: it is unclear"
    ),
    "a variance": (
        MODEL, {**prefixed("model.", STATE), "norm.mean": torch.ones(3), "norm.var": torch.ones(3)}, "norm stands"
    ),
    "pixels to 255": (
        MODEL, refused_scaling([123.7, 116.3, 103.5], [58.4, 57.1, 57.4]), "123.7,116.3,103.5.*not for pixels in"
    ),
    "an inverse of std": (
        MODEL, prefixed("model.", STATE) | {"norm.mean": torch.ones(3), "norm.inv_std": torch.ones(3)}, "norm"
    ),
    "quantised": (
        MODEL, {name: value.to(torch.int8) for name, value in STATE.items()}, "no floating-point numbers in"
    ),
    "two channels of five": (MODEL, refused_scaling([0.5] * 5, [0.5] * 5), "has 5 numbers.*one for each of 3"),
    "a list of a moving average": (
        MODEL,
        {"state_dict": STATE, "ema": {"decay": 0.9, "shadow_params": list(OTHERS.parameters())}},
        r"ema\.shadow_params holds a moving average as a list .*accepted is FILE#state_dict, the weights without",
    ),
    "a list of a moving average alone": (
        MODEL, {"ema": {"shadow_params": list(OTHERS.parameters())}}, "ema.shadow_params is a list of tensors with"
    ),
    "an optimizer's list": (
        MODEL, {"state_dict": STATE, "optimizer_states": [{"ema": list(OTHERS.parameters())}]}, "accepted is FILE"
    ),
    "adapters": (MODEL, {**STATE, **LORA}, r"fc\.lora_A\.weight: one of 2 tensors of adapters .*merged into"),
    "adapters of peft": (
        MODEL,
        prefixed("base_model.", LORA | {name.replace("fc.", "fc.base_layer."): STATE[name] for name in STATE}),
        r"fc\.lora_A\.weight: one of 2 tensors of adapters",
    ),
    "adapters alone": (MODEL, LORA, "one of 2 tensors of adapters"),
    "adapters under a key": (MODEL, {"model": STATE, "lora": LORA}, "lora stands beside model and may belong to"),
    "a discriminator of another shape": (
        MODEL, {"model": STATE, "netD": {"conv.weight": torch.zeros(3, 3, 3, 3)}}, "netD stands beside model"
    ),
    "another parametrisation": (
        MODEL, factored(torch.nn.utils.parametrizations.orthogonal).state_dict(),
        r"fc\.parametrizations\.weight\.original: a parametrisation whose weight is not .*remove_parametrizations",
    ),
    "an activation in the head": (
        MODEL, mlp_head(), r"fc\.0\.weight \[8, \d+\], fc\.2\.weight \[3, 8\]: which layers lie between them"
    ),
    "a head of other features": (
        MODEL, {**STATE, "fc.weight": torch.zeros(3, 9)} , r"of another shape fc\.weight \[3, 9\]"
    ),
    "two heads that differ": (
        "deit_tiny_distilled_patch16_224",
        {**network("deit_tiny_distilled_patch16_224").state_dict(), "head_dist.weight": torch.zeros(3, 192)},
        "different numbers of classes, head 5, head_dist 3; accepted is one number",
    ),
    "a kernel for small images": (
        "resnet18", first_convolution(3),
        r"conv1\.weight \[64, 3, 3, 3\] instead of \[64, 3, 7, 7\]: another kernel"
    ),
    "a grey torchvision": ("resnet18", first_convolution(7, channels=1), r"\[64, 1, 7, 7\].*resnet18 takes 3"),
    "positions of no square": (
        "test_vit", {**network("test_vit").state_dict(), "pos_embed": torch.zeros(1, 24, 64)},
        "for no square images",
    ),
    "another architecture": ("test_vit", {"model": STATE}, "not for test_vit: another architecture: missing"),
    "NaN": (MODEL, {"net": {**STATE, "fc.bias": torch.full((5,), float("nan"))}}, "NaN.* in fc.bias"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_right_is_refused_in_one_line(
    kind: str, saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, content, reason = REFUSED[kind]
    file = saved(content)
    with pytest.raises(ValueError, match=rf"checkpoint\.pth': .*{reason}") as refused:
        read_checkpoint(name, weights=file)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "code-has-run").exists()


def test_a_dictionary_in_itself_is_refused(saved) -> None:
    content: dict[str, Any] = {"fc.bias": torch.zeros(5)}
    content["self"] = content
    with pytest.raises(ValueError, match="dictionaries within dictionaries, more than 20"):
        read_checkpoint(MODEL, weights=saved(content))


def test_a_folder_is_named_with_its_files(saved, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"is a folder; accepted is a file; it holds none of \.safetensors, \.pth"
    ):
        read_checkpoint(MODEL, weights=str(tmp_path))
    for name in ("epoch_10.pth", "epoch_2.pth", "best.pth.tar", "optimizer.pt"):
        saved(STATE, name)
    with pytest.raises(ValueError, match=r"its best\.pth\.tar, epoch_2\.pth, epoch_10\.pth$"):
        read_checkpoint(MODEL, weights=str(tmp_path))
    assert [weights_name(file) for file in weights_files(tmp_path)] == ["best", "epoch_2", "epoch_10"]
