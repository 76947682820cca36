"""`smooth:METHOD`: SmoothGrad of any method, with SmoothGrad's own draws."""

import pytest
import torch

from attrib_core.attribution import AttributionSettings, Request, attribute, attributions, method_named
from attrib_core.prepared import PreparedModel, prepare
from attrib_core.seeding import Randomness

NUM_SAMPLES, NOISE = 3, 0.2
OWN = f"noise={NOISE}:num_samples={NUM_SAMPLES}"


@pytest.fixture
def model(small) -> PreparedModel:
    return prepare(small, device="cpu", batch_size=4)


@pytest.mark.parametrize("target", ["predicted", "label", "loss"])
def test_the_smooth_gradient_is_smooth_grad_bit_for_bit(target, model, small_images) -> None:
    methods = ["smooth_grad", "smooth:gradient", "smooth:gradient:num_samples=2"]
    plain, smooth, fewer = attribute(model, *small_images, methods, target=target).values.values()
    assert torch.equal(smooth, plain)
    assert not torch.equal(fewer, plain)


INNER = (
    "gradient_x_input",
    "loss_gradient",
    "occlusion:window_size=4",
    "integrated_gradients:baseline=blurred:num_steps=3",
    "grad_cam",
    "captum:InputXGradient",
)


@pytest.mark.parametrize("inner", INNER)
def test_it_is_the_mean_over_copies_of_the_image(inner, model, small_images) -> None:
    images, labels = small_images
    name, _, settings = inner.partition(":") if not inner.startswith("captum") else (inner, "", "")
    smooth = ":".join(["smooth", name, *filter(None, [settings]), OWN])
    found = attribute(model, images, labels, [smooth], target="label").values[smooth]
    draws = Randomness([(0, "smooth_grad", key) for key in range(8)], "cpu").normal(
        NUM_SAMPLES, *images.shape[1:]
    )
    request = Request(target="label", keys=tuple(range(8)))
    copies = [
        attributions(model, images + NOISE * draws[:, sample], labels, [inner], request).values[inner]
        for sample in range(NUM_SAMPLES)
    ]
    torch.testing.assert_close(found, torch.stack(copies).mean(0), rtol=1e-4, atol=1e-6)


def test_what_is_known_of_it_is_known_of_the_method() -> None:
    method = method_named(f"smooth:loss_gradient_x_input:{OWN}")
    assert method.explains_loss
    assert method.of_inputs
    assert not method_named("smooth:gradient").of_inputs
    assert not method_named("smooth:abs_gradient_x_input").is_signed
    assert method_named("smooth:grad_cam").check is not None
    assert method_named("smooth:integrated_gradients").completeness_gap is None
    described = method_named("smooth:occlusion:window_size=4:num_samples=2").describe(AttributionSettings())
    assert described == "2 samples, noise 0.15, window 4, stride half the window"


def test_an_image_is_explained_alike_alone(model, small_images) -> None:
    name = f"smooth:gradient_x_input:{OWN}"
    together = attribute(model, *small_images, [name]).values[name]
    alone = attribute(model, *(each[5:6] for each in small_images), [name], keys=[5]).values[name]
    assert torch.equal(alone[0], together[5])


REFUSED = {
    "smooth": "accepted is smooth:METHOD, such as smooth:gradient_x_input",
    "smooth:smooth_grad": "smooth_grad is smooth already; accepted is smooth:gradient",
    "smooth:smooth:gradient": "accepted after smooth: are methods of ours and captum:NAME",
    "smooth:mine.py:attribute": "accepted after smooth: are methods of ours and captum:NAME",
    "smooth:gradiant": "no method 'gradiant'; near matches are gradient",
    "smooth:gradient:num_samples=0": "num_samples=0: accepted are 1 and more",
    "smooth:gradient:noise=-1": "noise=-1.0: accepted are numbers from 0",
    "smooth:gradient:num_steps=3": "no setting 'num_steps'",
}


@pytest.mark.parametrize("text", REFUSED)
def test_nonsense_is_refused(text) -> None:
    with pytest.raises(ValueError, match=REFUSED[text]):
        method_named(text)
