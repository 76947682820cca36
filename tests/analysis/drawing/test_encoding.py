"""What is written as a video can be read back."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.drawing.encoding import VideoWriter

COLORS = [(200, 30, 30), (20, 160, 40), (30, 40, 190), (128, 128, 128), (255, 255, 255)]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_frames_come_back_in_order_with_their_colours(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / "new" / f"video{suffix}"
    with VideoWriter(path, frames_per_second=12) as video:
        for color in COLORS:
            video.write(np.full((48, 64, 3), color, np.uint8))
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (codec, "yuv420p")
        assert stream.average_rate == 12
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == len(COLORS)
    for frame, color in zip(frames, COLORS, strict=True):
        assert np.abs(frame - color).max() <= 6


def test_odd_sizes_are_padded_to_even_ones_by_their_edge(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with VideoWriter(path) as video:
        video.write(np.full((31, 45, 3), (10, 200, 10), np.uint8))
    with av.open(path) as container:
        (frame,) = container.decode(video=0)
    assert (frame.height, frame.width) == (32, 46)
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - (10, 200, 10)).max() <= 6


def write(path: Path, frames: Iterable[NDArray[np.uint8]]) -> None:
    with VideoWriter(path) as video:
        for frame in frames:
            video.write(frame)


def interrupted(num_frames: int) -> Iterator[NDArray[np.uint8]]:
    yield from np.zeros((num_frames, 32, 32, 3), np.uint8)
    raise KeyboardInterrupt


def test_an_interruption_leaves_no_file_and_no_frame_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "video.mp4"
    with pytest.raises(KeyboardInterrupt):
        write(path, interrupted(0))
    assert not path.parent.exists()
    with pytest.raises(KeyboardInterrupt):
        write(path, interrupted(3))
    assert list(path.parent.iterdir()) == []


def test_frames_of_another_size_and_other_formats_are_refused(tmp_path: Path) -> None:
    frames = [np.zeros((32, width, 3), np.uint8) for width in (32, 34)]
    with pytest.raises(ValueError, match=r"a frame is \(32, 34, 3\)"):
        write(tmp_path / "video.mp4", frames)
    with pytest.raises(ValueError, match=r"output is 'video.avi': give a name that ends in \.mp4, \.webm"):
        VideoWriter(tmp_path / "video.avi")
    with pytest.raises(ValueError, match="fps is 1000"):
        VideoWriter(tmp_path / "video.mp4", frames_per_second=1000)
    assert list(tmp_path.iterdir()) == []
