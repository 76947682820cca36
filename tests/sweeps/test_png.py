"""Images as PNGs: whoever opens one gets the same pixels, whatever form it was written in."""

import io

import numpy as np
import pytest
from PIL import Image

from sweeps.png import encode_png, encode_pngs

RNG = np.random.default_rng(0)
IMAGES = {
    "a sign map in colour": np.repeat(RNG.choice(np.array([0, 255], np.uint8), (8, 40, 3)), 5, axis=0),
    "a sign map in grey, with zeros": RNG.choice(np.array([0, 128, 255], np.uint8), (28, 28, 1)),
    "a picture in colour": RNG.integers(0, 256, (24, 17, 3), dtype=np.uint8),
    "a picture in grey": RNG.integers(0, 256, (28, 28, 1), dtype=np.uint8),
    "a picture that is black but for a pixel": np.eye(9, dtype=np.uint8)[..., None] * 77,
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_opened_image_has_the_pixels_that_were_stored(name: str) -> None:
    image = IMAGES[name]
    with Image.open(io.BytesIO(encode_png(image))) as opened:
        assert opened.mode == ("RGB" if image.shape[-1] == 3 else "L")
        assert np.array_equal(np.asarray(opened).reshape(image.shape), image)


def test_a_sign_map_takes_less_room_than_as_pillow_writes_it() -> None:
    signs = RNG.choice(np.array([0, 255], np.uint8), (64, 64, 3))
    buffer = io.BytesIO()
    Image.fromarray(signs).save(buffer, format="PNG", compress_level=1)
    assert len(encode_png(signs)) < 0.8 * len(buffer.getvalue())


def test_images_keep_their_order_whatever_thread_encodes_them() -> None:
    assert encode_pngs(iter(IMAGES.values())) == [encode_png(image) for image in IMAGES.values()]
