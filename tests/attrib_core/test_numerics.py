"""What float32 means on a GPU. torch's settings for it can be read and set on a machine without one."""

from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.backends import cuda, cudnn

from attrib_core.classifiers import Classifier
from attrib_core.execution import Execution
from attrib_core.numerics import WITH_TF32, WITHOUT_TF32, Numerics, current_numerics, set_numerics
from attrib_core.prepared import PreparedModel

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


def _by_library(*, tf32: bool) -> Callable[[], None]:
    def set_them() -> None:
        cudnn.allow_tf32 = tf32
        torch.set_float32_matmul_precision("medium" if tf32 else "highest")

    return set_them


def _by_operation(precision: str) -> Callable[[], None]:
    def set_them() -> None:
        cudnn.conv.fp32_precision = precision
        cuda.matmul.fp32_precision = precision

    return set_them


def _for_all(precision: str) -> Callable[[], None]:
    return lambda: setattr(torch.backends, "fp32_precision", precision)


def _deterministic() -> None:
    cudnn.deterministic, cudnn.benchmark = True, True


USERS = {
    "torch's own": lambda: None,
    "libraries, TF32": _by_library(tf32=True),
    "libraries, IEEE": _by_library(tf32=False),
    "operations, TF32": _by_operation("tf32"),
    "operations, IEEE": _by_operation("ieee"),
    "all, TF32": _for_all("tf32"),
    "all, IEEE": _for_all("ieee"),
    "cuDNN": _deterministic,
}


@pytest.fixture(autouse=True)
def users_settings() -> Iterator[None]:
    before, shared = current_numerics(), (torch.backends.fp32_precision, cudnn.fp32_precision)
    yield
    torch.backends.fp32_precision, cudnn.fp32_precision = shared
    set_numerics(before)


def answer(ask: Callable[[], object]) -> object:
    """Return what torch answers. It refuses where settings of libraries and operations disagree."""
    try:
        return ask()
    except RuntimeError:
        return "refused"


def answers() -> list[object]:
    """Return all that a user can see of the settings."""
    return [
        *astuple(current_numerics()),
        torch.backends.fp32_precision,
        answer(lambda: cudnn.allow_tf32),
        answer(lambda: cuda.matmul.allow_tf32),
        answer(torch.get_float32_matmul_precision),
    ]


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", WITHOUT_TF32), ("tf32", WITH_TF32), ("bfloat16", WITHOUT_TF32), ("float16", WITHOUT_TF32)],
)
def test_passes_have_the_precision_that_was_asked_for_and_the_user_keeps_his_settings(
    user: Callable[[], None], precision: str, expected: Numerics
) -> None:
    user()
    before = answers()
    with Execution(GPU, precision).numerics():  # type: ignore[arg-type]
        assert current_numerics() == expected
        assert cudnn.allow_tf32 == cuda.matmul.allow_tf32 == (precision == "tf32")  # torch does not refuse
        with cudnn.flags(enabled=True, allow_tf32=True):
            assert cudnn.conv.fp32_precision == "tf32"
    assert answers() == before


def test_a_failure_leaves_nothing_behind() -> None:
    before = answers()
    with pytest.raises(ZeroDivisionError), Execution(GPU).numerics():
        raise ZeroDivisionError
    assert answers() == before


def test_nothing_is_set_on_the_cpu() -> None:
    before = current_numerics()
    with Execution(CPU).numerics():
        assert current_numerics() == before != WITHOUT_TF32


class Watching(torch.autograd.Function):
    """Passes images on, and notes what is set in the forward and in the backward pass."""

    seen: ClassVar[list[Numerics]] = []

    @staticmethod
    def forward(context: object, images: Tensor) -> Tensor:
        Watching.seen.append(current_numerics())
        return images.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        Watching.seen.append(current_numerics())
        return gradient


class WatchedNetwork(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return Watching.apply(images).flatten(1)[:, :2]


CLASSIFIER = Classifier.wrap(WatchedNetwork(), image_size=4, class_names=("a", "b"))


class ComputingOnTheCpu(Execution):
    """How passes run on a GPU, but for the place of the tensors."""

    def to_device(self, tensor: Tensor) -> Tensor:
        return tensor


@pytest.mark.parametrize(("precision", "expected"), [("float32", WITHOUT_TF32), ("tf32", WITH_TF32)])
def test_forward_and_backward_passes_of_a_prepared_model_stand_in_it(
    precision: str, expected: Numerics
) -> None:
    model = PreparedModel(CLASSIFIER, ComputingOnTheCpu(GPU, precision), 2)  # type: ignore[arg-type]
    Watching.seen.clear()
    model.gradients(torch.rand(2, 3, 4, 4), [lambda logits: logits[:, 0]])
    model.exact_logits(torch.rand(2, 3, 4, 4))
    assert Watching.seen == [expected] * 3  # forward, backward, forward
    Watching.seen.clear()
    with model.lent("somebody's attack"):
        assert current_numerics() == expected


def test_foreign_code_that_leaves_tf32_on_is_found_out() -> None:
    model = PreparedModel(CLASSIFIER, ComputingOnTheCpu(GPU), 2)
    before = current_numerics()
    with model.lent("somebody's attack"), cudnn.flags(enabled=False):
        pass  # put back by torch itself
    assert current_numerics() == before
    with pytest.raises(ValueError, match="arithmetic on a GPU"), model.lent("somebody's attack"):
        cudnn.allow_tf32 = True
    assert current_numerics() == before
