"""The video of a generation run in its report: of runs that stored frames, and a word to the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from analysis.generation import video as generation_video

MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]


def num_frames(found: Any) -> int:
    [video] = [held for _, held in found.elements if (held.get("src") or "").endswith(".webm")]
    with av.open(found.path.parent / str(video["src"])) as container:
        return sum(1 for _ in container.decode(video=0))


def test_classes_with_frames_are_shown_one_after_another(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(frames=(0, 2)))
    assert "its own marked: class 0, class 2." in " ".join(found.text.split())
    # Three steps and the finished image, which stays for a second.
    assert num_frames(found) == 2 * (4 + 9)


def test_a_video_is_bounded_by_its_classes_and_the_frames_of_one(
    make_run: MakeRun, section_page: SectionPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(frames=(0, 1, 2))
    monkeypatch.setattr(generation_video, "MOST_FRAMES", 30)
    found = section_page(run, "two")
    assert "its own marked: class 0, class 1." in " ".join(found.text.split())
    monkeypatch.setattr(generation_video, "MOST_FRAMES", 7)
    assert num_frames(section_page(run, "one")) == (4 + 19) // 2 + 1


def test_a_run_without_frames_says_how_they_are_stored(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run())
    assert "There is no video: the run stored no frames" in " ".join(found.text.split())
    assert "generate_all.py --frames CLASSES" in found.text
    assert not [tag for tag, _ in found.elements if tag == "video"]
