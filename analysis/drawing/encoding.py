"""Write frames to a video file: H.264 in MP4 or VP9 in WebM, which browsers and players open."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """A kind of file: its container, the encoder's name in FFmpeg, and the options of both.

    With `small_options` the encoder makes a file about a third as large, whose edges are a little softer.
    """

    container: str
    encoder: str
    container_options: dict[str, str]
    encoder_options: dict[str, str]
    small_options: dict[str, str]


# Visually lossless where it matters here: flat colours, sharp pixels.
FORMATS = {
    ".mp4": VideoFormat(
        container="mp4",
        encoder="libx264",
        # The index in front of the frames: a browser plays the file while it loads.
        container_options={"movflags": "+faststart"},
        encoder_options={"crf": "20", "preset": "veryfast"},
        small_options={"crf": "28"},
    ),
    ".webm": VideoFormat(
        container="webm",
        encoder="libvpx-vp9",
        container_options={},
        # Without `b=0` the quality asked for is bounded by a bit rate. `realtime` is five times as fast as `good`,
        # with files a fifth larger.
        encoder_options={"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
        small_options={"crf": "42"},
    ),
}

# Without these tags players choose BT.709 or BT.601 by the size of the frame, and colours shift.
_BT709 = 1


def video_format(path: Path) -> VideoFormat:
    """Return the format of a video by its suffix. Raise ValueError for another suffix or a missing encoder."""
    if path.suffix not in FORMATS:
        raise ValueError(f"output is {path.name!r}: give a name that ends in {', '.join(FORMATS)}")
    chosen = FORMATS[path.suffix]
    try:
        av.Codec(chosen.encoder, "w")
    except UnknownCodecError:
        others = ", ".join(suffix for suffix in FORMATS if suffix != path.suffix)
        raise ValueError(
            f"output is {path.name!r}, which needs the encoder {chosen.encoder}: the FFmpeg of this PyAV has "
            f"none; install PyAV's wheel from PyPI, or give a name that ends in {others}"
        ) from None
    return chosen


class VideoWriter:
    """A video file that frames `[H, W, 3]` uint8 of one size are written to, in a `with` statement.

    The suffix chooses the format; `small`, for a page, its small options. An odd height or width is padded by
    repeating the last row or column: yuv420p has one colour for two pixels. The file appears under its name when
    it is complete; an exception leaves nothing behind.
    """

    def __init__(self, path: Path, *, frames_per_second: int = 30, small: bool = False) -> None:
        self._format, self._small = video_format(path), small
        if not 1 <= frames_per_second <= 240:
            raise ValueError(f"fps is {frames_per_second}: give a whole number from 1 to 240")
        self._path, self._rate = path, frames_per_second
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame. Raise ValueError for one of another size."""
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
        form = self._format
        container = av.open(self._partial, "w", format=form.container, options=form.container_options)
        options = form.encoder_options | (form.small_options if self._small else {})
        stream = container.add_stream(form.encoder, rate=Fraction(self._rate), options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        return container, stream
