"""Frames to a video file: H.264 in MP4, which browsers and players open as it is."""

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

SUFFIXES = (".mp4",)

# Visually lossless where it matters here: flat colours, sharp pixels.
_OPTIONS = {"crf": "20", "preset": "veryfast"}
# Without these tags players take BT.709 or BT.601 by the size of the frame, and colours shift.
_BT709 = 1


def check_video_path(path: Path) -> None:
    """ValueError unless a video can be written under this name."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"output is {path.name!r}: give a name that ends in {', '.join(SUFFIXES)}")


class VideoWriter:
    """Writes frames `[H, W, 3]` uint8, all of one size, to an MP4 file; to be used in a `with` statement.

    An odd height or width is padded by repeating the last row or column: yuv420p has one colour for two pixels.
    The file appears under its name when it is complete; an exception leaves nothing behind.
    """

    def __init__(self, path: Path, *, frames_per_second: int = 30) -> None:
        check_video_path(path)
        if not 1 <= frames_per_second <= 240:
            raise ValueError(f"fps is {frames_per_second}: give a whole number from 1 to 240")
        self._path, self._rate = path, frames_per_second
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Adds a frame."""
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._container is None or self._stream is None:
            self._container, self._stream = self._open(*frame.shape[:2])
        if frame.shape != (self._stream.height, self._stream.width, 3):
            raise ValueError(f"a frame is {frame.shape}, the first was of another size")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        self._container.mux(self._stream.encode(picture))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None or self._stream is None:
            return
        if kind is not None:
            self._container.close()
            self._partial.unlink(missing_ok=True)
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._partial.replace(self._path)

    def _open(self, height: int, width: int) -> tuple[av.container.OutputContainer, av.VideoStream]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The index in front of the frames: a browser plays the file while it loads.
        container = av.open(self._partial, "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream("libx264", rate=Fraction(self._rate), options=_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        return container, stream
