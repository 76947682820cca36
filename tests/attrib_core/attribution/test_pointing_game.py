"""The pointing game by hand-made maps and boxes."""

import pytest
import torch

from attrib_core.attribution import METHODS, AttributionSettings, attribute
from attrib_core.attribution.scores import Scored, padded_boxes, score_named
from attrib_core.attribution.subject import Subject

NAN = torch.nan


def hit(
    maps: torch.Tensor, boxes: list[list[float]], reference: str = "pointing_game", target="label"
) -> float:
    """The score of one map `[H, W]`."""
    values = {"gradient": maps[None, None]}
    subject = Subject(
        model=None,
        settings=AttributionSettings(),
        target=target,
        images=values["gradient"],
        keys=(0,),
        classes=torch.zeros(1, dtype=torch.long),
        labels=torch.zeros(1, dtype=torch.long),
        logits=torch.zeros(1, 2),
        gradients={},
    )
    scored = Scored(
        subject=subject,
        methods={"gradient": METHODS["gradient"]},
        values=values,
        classes=subject.classes,
        boxes=torch.tensor(boxes).view(1, -1, 4),
    )
    return score_named(reference)(scored)["pointing_hit"].item()


def peak(row: int, column: int) -> torch.Tensor:
    maps = torch.zeros(8, 9)
    maps[row, column] = 1
    return maps


@pytest.mark.parametrize(
    ("row", "column", "boxes", "expected"),
    [
        (2, 3, [[3, 2, 4, 3]], 1),  # the pixel itself
        (2, 3, [[4, 2, 9, 8]], 0),  # begins where the pixel ends
        (2, 3, [[0, 0, 3, 8]], 0),
        (2, 3, [[0, 3, 9, 8]], 0),
        (2, 3, [[3.9, 2.9, 9, 8]], 1),  # overlaps a corner of it
        (2, 3, [[7, 7, 8, 8], [2, 1, 5, 4]], 1),  # one of several
        (2, 3, [[NAN, NAN, NAN, NAN], [2, 1, 5, 4]], 1),
        (7, 8, [[8, 7, 9, 8]], 1),
    ],
)
def test_the_largest_pixel_decides(row, column, boxes, expected) -> None:
    assert hit(peak(row, column), boxes) == expected


def test_a_tolerance_widens_boxes() -> None:
    box = [[6.0, 2, 9, 8]]
    assert hit(peak(2, 3), box, "pointing_game:tolerance=2") == 0
    assert hit(peak(2, 3), box, "pointing_game:tolerance=2.5") == 1


def test_of_equal_pixels_the_first_counts() -> None:
    both = peak(1, 1) + peak(6, 6)
    assert hit(both, [[1.0, 1, 2, 2]]) == 1
    assert hit(both, [[6.0, 6, 7, 7]]) == 0


def test_of_a_loss_the_pixel_counts_that_lowers_it() -> None:
    assert hit(-peak(2, 3), [[3.0, 2, 4, 3]], target="loss") == 1


@pytest.mark.parametrize(
    ("maps", "boxes"),
    [
        (torch.ones(8, 9), [[0.0, 0, 9, 8]]),
        (peak(1, 1) * NAN, [[0.0, 0, 9, 8]]),
        (peak(1, 1), [[NAN] * 4]),
        (peak(1, 1), []),
    ],
)
def test_without_boxes_or_order_there_is_no_score(maps, boxes) -> None:
    assert hit(maps, boxes) != hit(maps, boxes)


def test_boxes_are_given_to_the_library(fashion, images) -> None:
    whole, none = torch.tensor([[0.0, 0, 28, 28]]), torch.empty(0, 4)
    boxes = [whole if place % 2 else none for place in range(len(images[0]))]
    found = attribute(fashion, *images, ["gradient"], scores=["pointing_game"], boxes=boxes)
    hits = found.scores["pointing_hit"][:, 0]
    assert hits[1::2].eq(1).all()
    assert hits[::2].isnan().all()


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        (None, "it needs boxes; accepted with boxes="),
        ([torch.zeros(0, 4)], "1 of them for 24 images"),
        ([torch.tensor([[0.0, 0, 29, 28]])] * 24, "image 0 has .*inside 28 x 28"),
        ([torch.tensor([[5.0, 0, 5, 28]])] * 24, "image 0 has"),
        ([torch.tensor([0.0, 0, 5, 28])] * 24, r"accepted is \[n, 4\]"),
    ],
)
def test_boxes_that_cannot_be_are_refused(fashion, images, boxes, said) -> None:
    with pytest.raises(ValueError, match=said):
        attribute(fashion, *images, ["gradient"], scores=["pointing_game"], boxes=boxes)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="tolerance=-1"):
        score_named("pointing_game:tolerance=-1")


def test_padding_keeps_the_order_of_boxes() -> None:
    found = padded_boxes([torch.empty(0, 4), torch.tensor([[1.0, 2, 3, 4], [0, 0, 1, 1]])], (2, 3, 8, 9))
    assert found.shape == (2, 2, 4)
    assert found[0].isnan().all()
    assert found[1].tolist() == [[1, 2, 3, 4], [0, 0, 1, 1]]
