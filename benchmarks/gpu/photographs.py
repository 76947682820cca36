"""A folder of JPEG files as large as ImageNet's, so that a sweep reads and decodes as it does in earnest."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375  # ImageNet's most frequent size
COARSE = 25  # pixels a random colour covers
NUM_CLASSES = 4


def write_photographs(folder: Path, count: int) -> None:
    """Write `count` images into folders that are named by the index of a class."""
    for index in range(NUM_CLASSES):
        (folder / str(index)).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_write, folder), range(count)))


def _write(folder: Path, number: int) -> None:
    colors = np.random.default_rng(number).integers(
        0, 256, (HEIGHT // COARSE, WIDTH // COARSE, 3), dtype=np.uint8
    )
    image = Image.fromarray(colors).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(number).integers(0, 32, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels = np.clip(np.asarray(image, dtype=np.int16) + noise - 16, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / str(number % NUM_CLASSES) / f"{number:05d}.jpg", quality=90)
