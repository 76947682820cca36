"""Videos in a page: a few megabytes each, with a still image for readers and machines that show none."""

import io
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.drawing.encoding import FORMATS, VideoWriter, video_format
from analysis.drawing.pixels import Pixels
from analysis.html.site import Site

_POSTER_QUALITY = 80
# A player's controls lie over the bottom of the picture: they shall cover no words.
_ROOM_FOR_CONTROLS = 48


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A file of a video: its path, its media type, and its size in bytes."""

    path: str
    type: str
    num_bytes: int

    @property
    def suffix(self) -> str:
        """What the file is called by: MP4 or WebM."""
        return {"video/mp4": "MP4", "video/webm": "WebM"}[self.type]


@dataclass(frozen=True, kw_only=True)
class Video:
    """What a page shows of a video; without encoders there are no files, and the poster stands for it."""

    files: Sequence[VideoFile]
    poster: str
    width: int
    height: int
    num_frames: int


def write_video(site: Site, stem: str, frames: Iterable[Pixels], *, frames_per_second: int) -> Video:
    """Write the frames `[H, W, 3]`, at least one, in every possible format; the poster is the last frame.

    One frame at a time is in memory. The files are `stem` with a suffix each.
    """
    suffixes = [suffix for suffix in FORMATS if _can_write(suffix)]
    frame, num_frames = np.zeros((2, 2, 3), np.uint8), 0
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"video{suffix}") for suffix in suffixes]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(VideoWriter(path, frames_per_second=frames_per_second, small=True))
                for path in paths
            ]
            for drawn in frames:
                num_frames, frame = num_frames + 1, _with_room(drawn)
                for writer in writers:
                    writer.write(frame)
        files = [_put(site, f"{stem}{path.suffix}", path.read_bytes()) for path in paths]
    return Video(
        files=files,
        poster=site.put(f"{stem}.webp", _webp(frame)),
        width=frame.shape[1],
        height=frame.shape[0],
        num_frames=num_frames,
    )


def _with_room(frame: Pixels) -> Pixels:
    return np.pad(frame, ((0, _ROOM_FOR_CONTROLS), (0, 0), (0, 0)), constant_values=255)


def _can_write(suffix: str) -> bool:
    try:
        video_format(Path(f"video{suffix}"))
    except ValueError:
        return False
    return True


def _put(site: Site, path: str, content: bytes) -> VideoFile:
    return VideoFile(
        path=site.put(path, content), type=f"video/{path.rpartition('.')[2]}", num_bytes=len(content)
    )


def _webp(frame: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "WEBP", quality=_POSTER_QUALITY)
    return buffer.getvalue()
