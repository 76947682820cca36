"""Images as PNG files in memory, each in a form that is quick to write and small; pixels are kept exactly."""

import io
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

# What a sign map holds: 0.5 + 0.5 · sign in 8 bits.
SIGN_VALUES = np.isin(np.arange(256), (0, 128, 255))
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 3: 2}  # of the format, by the number of channels


def encode_pngs(images: Iterable[NDArray[np.uint8]]) -> list[bytes]:
    """Return images `[H, W, C]`, of one channel or three, as PNGs.

    As many threads as torch has in this process encode them. They hold Python's lock only now and then, so that
    the thread that computes goes on.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(encode_png, images))


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return an image `[H, W, C]`, of one channel or three, as a PNG."""
    return _encode_signs(image) if _is_sign_map(image) else _encode_picture(image)


def _is_sign_map(image: NDArray[np.uint8]) -> bool:
    # Of a picture already the first rows say so.
    return all(bool(SIGN_VALUES[rows].all()) for rows in (image[:2], image))


def _encode_picture(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    # Level 1 is 3 % larger than the default and nearly twice as fast on generated images.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _encode_signs(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG whose rows are not filtered: half the time and three fifths of the size of Pillow's.

    Filters predict a value from its neighbours. Signs jump, so their differences are harder to pack than they are.
    """
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: 0 is none
    rows[:, 1:] = image.reshape(height, -1)
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[channels], 0, 0, 0)
    packed = packer.compress(rows.data) + packer.flush()
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
