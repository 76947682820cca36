"""Methods by reference: settings of a method's own, and a user's function as a method."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from attrib_core.attribution import AttributionSettings, attribute, deletion_and_insertion, method_named
from attrib_core.prepared import PreparedModel, prepare
from attrib_core.user_code import forget

Write = Callable[[str], str]


@pytest.fixture
def model(small) -> PreparedModel:
    return prepare(small, device="cpu", batch_size=4)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of a user and returns its path."""

    def run(text: str) -> str:
        (tmp_path / "mine.py").write_text(f"import numpy as np\nimport torch\n\n\n{text}\n")
        return str(tmp_path / "mine.py")

    return run


SETTINGS = {
    "integrated_gradients:num_steps=3": {"num_steps": 3},
    "integrated_gradients:baseline=blurred:num_steps=5": {"num_steps": 5, "baseline": "blurred"},
    "occlusion:window_size=4:stride=3": {"window_size": 4, "stride": 3},
    "occlusion:window_size=2": {"window_size": 2},
    "occlusion_gradient_x_input:window_size=5": {"window_size": 5},
    "smooth_grad:num_samples=2:noise=0.3": {"num_samples": 2, "noise": 0.3},
    "smooth_grad:noise=1/4": {"noise": 0.25},
}


def test_settings_belong_to_the_reference(small_images, model) -> None:
    plain = ["integrated_gradients", "occlusion", "occlusion_gradient_x_input", "smooth_grad"]
    general = AttributionSettings(num_steps=4, num_samples=3, window_size=3)
    found = attribute(model, *small_images, [*SETTINGS, *plain], settings=general)
    for text, own in SETTINGS.items():
        name, settings = text.partition(":")[0], AttributionSettings(**(vars(general) | own))
        alone = attribute(model, *small_images, [name], settings=settings)
        assert torch.equal(found.values[text], alone.values[name]), text
        assert not torch.equal(found.values[text], found.values[name]), text
        if name == "integrated_gradients":
            assert torch.equal(found.completeness_gaps[text], alone.completeness_gaps[name])
    assert len(found.completeness_gaps) == 3


def test_a_result_that_two_methods_share_is_computed_once_for_the_same_settings(small_images, model) -> None:
    calls = []
    exact = model.exact_logits
    model.exact_logits = lambda images: calls.append(1) or exact(images)  # type: ignore[method-assign]
    attribute(model, *small_images, ["occlusion:window_size=5"])
    alone = len(calls)
    attribute(model, *small_images, ["occlusion:window_size=5", "occlusion_gradient_x_input:window_size=5"])
    assert len(calls) < 2 * alone + alone


def test_what_is_described_has_the_settings_of_both() -> None:
    settings = AttributionSettings(baseline="blurred")
    described = method_named("integrated_gradients:num_steps=200").describe(settings)
    assert described == "200 steps from blurred"


MINE = """
def attr(model, images, targets, *, power: int = 1, noise=0.0):
    images = (images + noise * torch.rand_like(images)).requires_grad_()
    score = model(images).gather(1, targets[:, None]).sum()
    return torch.autograd.grad(score, images)[0] ** power


def first_channel(model, images, targets):
    images[:] = 0  # a copy, so that nobody else notices
    return model(images).sum() * 0 + torch.ones_like(images[:, :1])


def draws(model, images, targets):
    return images * 0 + torch.rand(()) + np.random.rand()


draws.is_signed = False
"""


def test_a_function_of_a_file_is_a_method(small_images, model, write) -> None:
    path = write(MINE)
    names = [f"{path}:attr", f"{path}:attr:power=2", f"{path}:first_channel", "gradient"]
    plain, squared, ones, gradient = attribute(model, *small_images, names).values.values()
    torch.testing.assert_close(plain, gradient, rtol=0, atol=1e-6)
    torch.testing.assert_close(squared, plain**2, rtol=0, atol=1e-6)
    assert torch.equal(ones, torch.ones_like(small_images[0]))
    scores = deletion_and_insertion(model, small_images[0], plain, small_images[1])
    assert all(score.isfinite().all() for score in scores)


def test_what_a_function_draws_follows_from_the_seed_and_the_first_key(small_images, model, write) -> None:
    name = f"{write(MINE)}:draws"
    state = torch.get_rng_state()
    first, again, other = (
        attribute(model, *small_images, [name], keys=keys).values[name]
        for keys in (range(8), range(8), (9, *range(1, 8)))
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first[:4], other[:4])
    assert torch.equal(first[4:], other[4:])  # the second batch has its own first key
    seeded = attribute(model, *small_images, [name], settings=AttributionSettings(seed=1)).values[name]
    assert not torch.equal(first, seeded)


def test_a_function_says_that_its_values_have_no_sign_and_which_code_it_is(write) -> None:
    path = write(MINE)
    assert [method_named(f"{path}:{name}").is_signed for name in ("attr", "draws")] == [True, False]
    before = method_named(f"{path}:attr").describe(AttributionSettings())
    assert before.startswith("SHA-256 ")
    forget()
    after = method_named(f"{write(MINE + '# changed')}:attr").describe(AttributionSettings())
    assert after.startswith("SHA-256 ")
    assert before != after


def refusal(model: PreparedModel, request: tuple, name: str, **options) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the message is what the test returns
        attribute(model, *request, [name], **options)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "gradeint:x=1": "methods: 'gradeint:x=1'; accepted are gradient, ",
        "gradient:num_steps=3": "no setting 'num_steps'; it has none",
        "occlusion:num_steps=3": "no setting 'num_steps'; accepted are stride, window_size",
        "occlusion:window_size=0": "window_size=0: accepted are 1 and more",
        "occlusion:window_size=4:stride=5": "stride=5: pixels between windows would never be occluded",
        "occlusion:window_size=40": "window_size=40: accepted are 1 to 10",
        "occlusion:window_size=two": "window_size=two: Input should be a valid integer",
        "integrated_gradients:num_steps=1.5": "num_steps=1.5: Input should be a valid integer",
        "integrated_gradients:baseline=white": "baseline=white: Input should be 'black', 'blurred' or 'uniform'",
        "integrated_gradients:seed=3": "no setting 'seed'; accepted are baseline, num_steps",
        "smooth_grad:noise=-1": "noise=-1.0: accepted are numbers from 0",
        "smooth_grad:noise=1:noise=2": "noise is given twice",
        "smooth_grad:noise": "methods: 'smooth_grad:noise'; accepted are gradient, ",
        "smooth grad": "' ' cannot be in it",
        "nowhere.py:attr": "no file 'nowhere.py'",
        "nowhere.module:attr": "no module 'nowhere.module' is installed",
        "torch.nn:Linear": "it is a type; accepted is a function attribute(model, images, targets, **settings)",
    }.items(),
)
def test_a_reference_that_cannot_be(name, message, small_images, model) -> None:
    assert message in refusal(model, small_images, name)


@pytest.mark.parametrize(
    ("body", "message"),
    {
        "value = 3": "it is a int; accepted is a function attribute(model, images, targets, **settings)",
        "def value(model): ...": "it takes (model); accepted is attribute(model, images, targets",
        "def value(model, images, targets, sigma): ...": "it needs sigma",
        "def value(model, images, targets): ...": "mine.py, line 5, returns a NoneType; accepted are finite",
        "def value(m, images, t): return images[0]": "mine.py, line 5, returns values [3, 10, 12]; accepted",
        "def value(m, images, t): return images[:, 0]": "returns values [4, 10, 12]; accepted are finite values",
        "def value(m, images, t): return images * torch.nan": "mine.py, line 5, returns NaN, infinite or complex",
        "def value(m, images, t): return images.numpy()": "returns a ndarray; accepted are finite values",
        "def value(m, images, t):\n    k = 0\n    return 1 / k": "mine.py, line 7, fails: ZeroDivisionError",
        "def value(m, images, t): return m(images[:, :1])": "mine.py, line 5, fails: RefusedSizeError: ",
        "def value(m, images, t):\n    m.train()": "mine.py, line 6, fails: ValueError: known is a classifier for",
        "def value(m, images, t: ...": "mine.py, line 5, cannot be imported: SyntaxError",
        "def valu(m, images, t): ...": "mine.py has no name 'value'; near matches are valu",
    }.items(),
)
def test_a_function_that_cannot_be_names_the_line(body, message, small_images, model, write) -> None:
    assert message in refusal(model, small_images, f"{write(body)}:value")


def test_a_function_explains_no_loss(small_images, model, write) -> None:
    name = f"{write(MINE)}:attr"
    expected = "it does not explain target=loss; accepted are predicted, label"
    assert expected in refusal(model, small_images, name, target="loss")


def test_the_same_reference_twice(small_images, model, write) -> None:
    with pytest.raises(ValueError, match="is listed twice; list each method once"):
        attribute(
            model, *small_images, ["smooth_grad:noise=1:num_samples=2", "smooth_grad:num_samples=2:noise=1"]
        )
