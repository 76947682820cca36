"""Images from memory as one figure; `test_guide.py` draws the figures of real runs."""

import numpy as np
import pandas as pd
import pytest

from analysis.drawing.pages import select
from analysis.figures import draw_images

GREY, COLOUR = np.full((2, 1, 4, 4), 0.5), np.linspace(0, 1, 2 * 3 * 16).reshape(2, 3, 4, 4)


def test_each_image_is_drawn_as_it_is() -> None:
    figure = draw_images({"grey": GREY, "colour": COLOUR}, title="Two strips", headers=["one", "two"])
    drawn = [np.asarray(image.get_array()) for image in figure.axes[0].get_images()]
    assert [image.shape for image in drawn] == [(4, 4, 3)] * 4
    assert (drawn[0] == 128).all()
    assert np.array_equal(drawn[3], np.rint(255 * COLOUR[1]).astype(np.uint8).transpose(1, 2, 0))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"Two strips", "grey", "colour", "one", "two"} <= texts


@pytest.mark.parametrize(
    ("strips", "message"),
    [
        ({}, "strips have no images"),
        ({"a": GREY, "b": GREY[:1]}, "strips have 'a' 2, 'b' 1 images"),
        ({"a": GREY[0]}, r"images of 'a' have shape \(1, 4, 4\)"),
        ({"a": np.zeros((1, 2, 4, 4))}, r"accepted is \[K, C, H, W\] with 1 or 3 channels"),
        ({"a": 255 * GREY}, r"images of 'a' go from 127\.5 to 127\.5: accepted are numbers in \[0, 1\]"),
        ({"a": GREY - 1}, r"go from -0\.5 to -0\.5"),
        ({"a": np.full((1, 1, 2, 2), np.nan)}, "go from nan to nan"),
    ],
)
def test_what_is_no_strip_of_images_is_refused(strips: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_images(strips, title="")


@pytest.mark.parametrize("number", [0, -1])
def test_strips_stand_beside_each_other(number: int) -> None:
    with pytest.raises(ValueError, match=f"num_across is {number}: give 1 or more"):
        draw_images({"a": GREY}, title="", num_across=number)


def test_a_tensor_with_a_gradient_is_drawn() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(GREY).requires_grad_()
    assert len(draw_images({"a": tensor}, title="").axes[0].get_images()) == 2


@pytest.mark.parametrize("values", [[], "fgsm", 8 / 255])
def test_what_is_chosen_is_a_list(values: object) -> None:
    with pytest.raises(ValueError, match=r"method is .*: give a list of one or more"):
        select(pd.DataFrame({"method": ["fgsm"]}), "method", values)  # type: ignore[arg-type]
