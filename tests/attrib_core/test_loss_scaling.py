"""Gradients in float16, whose passes torch has on the CPU too, if slowly."""

import pytest
import torch
from torch import Tensor, nn

from attrib_core.classifiers import Classifier
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel, logit_of, loss_of

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 0, 0, 0])
# By how much the network is sure of the label. The loss's gradient is e^-margin: 2e-3 to 9e-14.
MARGINS = torch.tensor([6.0, 12.0, 20.0, 30.0])


def linear_model(weight: float, precision: str) -> PreparedModel:
    """A network whose logit of class 0 is `weight` times the image's mean, and that of class 1 is 0."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[weight / 16] * 16, [0.0] * 16]))
        network[1].bias.zero_()
    classifier = Classifier.wrap(network, channels=1, image_size=4)
    return PreparedModel(classifier, Execution(CPU, precision), 4)  # type: ignore[arg-type]


def images_of(margins: Tensor, weight: float) -> Tensor:
    return (margins / weight)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()


def loss_gradients(model: PreparedModel, images: Tensor) -> Tensor:
    return model.gradients(images, [lambda logits: loss_of(logits, LABELS[: len(logits)])])[1][0]


def test_the_gradient_of_an_image_that_the_network_is_sure_of_does_not_underflow() -> None:
    images = images_of(MARGINS, 32.0)
    exact = loss_gradients(linear_model(32.0, "float32"), images)
    found = loss_gradients(linear_model(32.0, "float16"), images)
    assert exact[-1].abs().max() < 2**-25  # in float16 it is 0
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.01, atol=0)


def test_a_gradient_that_overflows_gets_a_smaller_factor() -> None:
    """A logit's gradient of 1 is brought to 2^8; times a weight of 2^12 that is beyond float16."""
    images = images_of(MARGINS, 2.0**16)
    exact, found = (
        model.gradients(images, [lambda logits: logit_of(logits, LABELS)])[1][0]
        for model in (linear_model(2.0**16, "float32"), linear_model(2.0**16, "float16"))
    )
    assert exact.max() == 2.0**12
    torch.testing.assert_close(found, exact, rtol=0.01, atol=0)


def test_each_image_has_a_factor_of_its_own() -> None:
    model, images = linear_model(32.0, "float16"), images_of(MARGINS, 32.0)
    together = loss_gradients(model, images)
    for row in range(len(images)):
        assert torch.equal(loss_gradients(model, images[row : row + 1])[0], together[row])


def test_a_zero_gradient_stays_zero_and_nan_stays_nan() -> None:
    model, images = linear_model(32.0, "float16"), images_of(MARGINS, 32.0)
    _, (zero, nan) = model.gradients(
        images, [lambda logits: 0 * logits[:, 0], lambda logits: logits[:, 0] * torch.nan]
    )
    assert not zero.any()
    assert nan.isnan().all()


def test_a_network_without_a_gradient_is_refused_as_in_other_precisions() -> None:
    class Detached(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)[:, :2]

    for precision in ("float32", "float16"):
        classifier = Classifier.wrap(Detached(), channels=1, image_size=4, class_names=("a", "b"))
        model = PreparedModel(classifier, Execution(CPU, precision), 4)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="do not depend on the images"):
            loss_gradients(model, images_of(MARGINS, 32.0))


def test_other_peoples_code_whose_gradients_nobody_scales_runs_in_float32() -> None:
    for precision, lent_precision in (("float16", "float32"), ("bfloat16", "bfloat16")):
        with linear_model(32.0, precision).lent("somebody's attack") as lent:
            assert lent.execution.precision == lent_precision
