"""Stored images and attribution maps of a run, as PNG files: what a page shows is read at once."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from io import BytesIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.attribution.attributions import attribution_values
from analysis.attribution.colors import channel_sum, colored
from analysis.image_files import decode_png
from analysis.run import Run

# The pictures of some pages: what is shown next was most likely just read.
_MOST_BYTES = 128_000_000

# A file of the run directory: never a path that leads elsewhere.
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*\.parquet")


class Pictures:
    """PNG files of one run, the last ones in memory. Files of a run never change, so neither do they."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._held: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def stored(self, named: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Return images by file and key; only the row groups that hold them are read. ValueError for none such."""
        wanted = list(dict.fromkeys(named))
        found = {name: self._recall(name) for name in wanted}
        missing = [name for name, content in found.items() if content is None]
        for file, _ in missing:
            _refuse_path(file)
        rows = pd.DataFrame(missing, columns=["image_file", "image_key"])
        read = self._run.encoded_images(rows["image_key"], rows)
        for name, content in zip(missing, read, strict=True):
            # What is no PNG is not handed on to a browser.
            decode_png(name[1], content)
            self._remember(name, content)
        return {name: content for name, content in found.items() if content is not None} | dict(
            zip(missing, read, strict=True)
        )

    def maps(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
        """Return attribution maps, as colours, by results file and row in it."""
        found = {place: self._recall(_map_name(*place)) for place in places}
        missing = [place for place, content in found.items() if content is None]
        drawn: dict[tuple[str, int], bytes] = {}
        if missing:
            for file, _ in missing:
                _refuse_path(file)
            rows = pd.DataFrame(missing, columns=["results_file", "row_in_file"])
            # A map's colours are relative to its own values, whatever their scale.
            values = attribution_values(self._run, rows.assign(attribution_scale=np.float32(1)))
            for place, map_ in zip(missing, channel_sum(values), strict=True):
                drawn[place] = _png(colored(map_, signed=bool((map_ < 0).any())))
                self._remember(_map_name(*place), drawn[place])
        return {place: content for place, content in found.items() if content is not None} | drawn

    def _recall(self, name: tuple[str, str]) -> bytes | None:
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
            return self._held.get(name)

    def _remember(self, name: tuple[str, str], content: bytes) -> None:
        with self._lock:
            if name not in self._held:
                self._held[name] = content
                self._size += len(content)
            while self._size > _MOST_BYTES and len(self._held) > 1:
                self._size -= len(self._held.popitem(last=False)[1])


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height of a picture."""
    with Image.open(BytesIO(png), formats=["PNG"]) as picture:
        return picture.size


def _map_name(file: str, row: int) -> tuple[str, str]:
    # No key of an image is a number behind this sign.
    return file, f"\0{row}"


def _refuse_path(name: str) -> None:
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"file is {name!r}: give the name of a Parquet file of the run")


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
