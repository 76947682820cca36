"""What becomes of an image of any size and mode, against torchvision's transforms."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from attrib_core.classifiers import Classifier, Preprocessing
from attrib_core.datasets import View
from attrib_core.datasets.view import MeasuringView

INTERPOLATIONS = {"bicubic": v2.InterpolationMode.BICUBIC, "bilinear": v2.InterpolationMode.BILINEAR}


def photograph(width: int, height: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("shorter", [73, 75, 64, 55, None])
@pytest.mark.parametrize("size", [(300, 200), (200, 301), (45, 40), (223, 225), (1000, 20)])
def test_other_sizes_are_resized_and_cropped_as_torchvision_does(
    size: tuple[int, int], shorter: int | None, interpolation: str
) -> None:
    image = photograph(*size)
    view = View(image_size=64, channels=3, resize_size=shorter, interpolation=interpolation)
    expected = v2.CenterCrop(64)(v2.Resize(shorter or 64, INTERPOLATIONS[interpolation])(image))
    np.testing.assert_array_equal(view.apply(image), np.asarray(expected).transpose(2, 0, 1))


def test_an_image_of_the_right_size_comes_as_it_is_whatever_the_crop() -> None:
    image = photograph(64, 64)
    view = View(image_size=64, channels=3, resize_size=73)
    np.testing.assert_array_equal(view.apply(image), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_the_number_of_channels(mode: str, channels: int) -> None:
    image = photograph(40, 30, 1) if mode == "I;16" else photograph(40, 30)
    pixels = View(image_size=32, channels=channels).apply(image.convert(mode))
    assert pixels.shape == (channels, 32, 32)
    assert pixels.dtype == np.uint8


def test_a_palette_with_transparency_keeps_its_colours() -> None:
    palette = photograph(32, 32).quantize(16)
    palette.info["transparency"] = bytes(range(16))
    file = io.BytesIO()
    palette.save(file, "PNG")
    expected = np.asarray(palette.convert("RGBA"))[..., :3].transpose(2, 0, 1)
    np.testing.assert_array_equal(View(image_size=32, channels=3).apply(Image.open(file)), expected)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = View(image_size=8, channels=1).apply(Image.fromarray(values))
    np.testing.assert_array_equal(pixels[0], np.rint(values / 257).astype(np.uint8))


def test_grey_in_three_channels_is_the_grey_image_three_times() -> None:
    pixels = View(image_size=28, channels=3).apply(photograph(28, 28, 1))
    np.testing.assert_array_equal(pixels, np.broadcast_to(pixels[:1], pixels.shape))


def test_orientation_in_exif_is_not_applied() -> None:
    image, exif = photograph(32, 32), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    pixels = View(image_size=32, channels=3).apply(Image.open(file))
    np.testing.assert_array_equal(pixels, np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (lambda: Image.fromarray(np.ones((8, 8), np.float32)), "floating point"),
        (lambda: Image.fromarray(np.full((8, 8), 70_000, np.int32)), "70000"),
    ],
)
def test_pixels_without_an_eight_bit_meaning_are_refused(
    image: Callable[[], Image.Image], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        View(image_size=8, channels=1).apply(image())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0, "channels": 3}, "image_size=0"),
        ({"image_size": 8, "channels": 4}, "channels=4.*1 and 3"),
        ({"image_size": 8, "channels": 3, "resize_size": 0}, "resize_size=0"),
        ({"image_size": 8, "channels": 3, "crop_mode": "top"}, "crop_mode='top'.*center, squash, border"),
        ({"image_size": 8, "channels": 3, "interpolation": "lanczos"}, "lanczos.*bicubic, bilinear"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        View(**settings)


def test_a_classifier_says_how_it_wants_its_images(lite0: Classifier) -> None:
    expected = View(image_size=224, channels=3, resize_size=256, interpolation="bicubic")
    assert View.of(lite0) == expected


@pytest.mark.parametrize(
    ("crop_mode", "resized"), [("center", (80, 40)), ("squash", (40, 40)), ("border", (40, 20))]
)
def test_the_crop_mode_says_which_side_gets_the_size(crop_mode: str, resized: tuple[int, int]) -> None:
    view = View(image_size=32, channels=3, resize_size=40, crop_mode=crop_mode)
    assert view.resized((200, 100)) == resized
    assert view.apply(photograph(200, 100)).shape == (3, 32, 32)


def test_a_border_has_the_colour_of_the_mean_and_other_padding_is_black() -> None:
    mean = (0.2, 0.4, 0.6)
    bordered = Preprocessing(mean=mean, std=(1, 1, 1), image_size=8, crop_mode="border")
    pixels = View.of_preprocessing(bordered).apply(photograph(80, 40))
    np.testing.assert_array_equal(pixels[:, 0, 0], [51, 102, 153])
    smaller = Preprocessing(mean=mean, std=(1, 1, 1), image_size=8, resize_size=6)
    np.testing.assert_array_equal(View.of_preprocessing(smaller).apply(photograph(9, 9))[:, 0, 0], [0, 0, 0])


@pytest.mark.parametrize(
    ("size", "enlarges"), [((39, 50), True), ((40, 40), False), ((32, 32), False), ((300, 200), False)]
)
def test_an_image_is_enlarged_where_it_has_fewer_pixels_than_it_is_resized_to(
    size: tuple[int, int], enlarges: bool
) -> None:
    assert View(image_size=32, channels=3, resize_size=40).enlarges(size) is enlarges


def test_a_measuring_view_keeps_the_sizes_that_it_saw() -> None:
    view = MeasuringView(image_size=32, channels=3)
    assert view.apply(photograph(40, 30)).shape == (3, 32, 32)
    assert view.sizes == [(40, 30)]
