"""The video of a generation run that stored frames: how its images came to be, one class after another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from analysis.drawing.pixels import Pixels
from analysis.generation.video import GenerationChoice, chosen_frames, generation_frames
from analysis.html.site import Site
from analysis.html.videos import Video, write_video
from analysis.run import Source

# Half a minute, and no more.
MOST_FRAMES = 300
FRAMES_PER_SECOND = 10


def generated_video(source: Source, site: Site, recipes: Sequence[str]) -> tuple[Video | None, list[str]]:
    """Writes the video and returns it with the names of the classes that it shows; None without frames.

    Of the recipe `default` if it is among the recipes, else of the first of them.
    """
    if source.kind != "generate":
        return None, []
    # Asked of the sweep, not of its images: a large run has thousands of files, and seldom frames.
    if source.sweep.get("settings", {}).get("frames", "all") in ("", "none", None):
        return None, []
    recipe = "default" if "default" in recipes else recipes[0]
    try:
        images = chosen_frames(source.url, GenerationChoice(recipe=recipe))
    except ValueError:
        return None, []
    lengths = [len(rows) + FRAMES_PER_SECOND for rows in images]
    shown = [
        rows for place, rows in enumerate(images) if place == 0 or sum(lengths[: place + 1]) <= MOST_FRAMES
    ]
    classes = tuple(int(rows["class_index"].iloc[0]) for rows in shown)
    choice = GenerationChoice(recipe=recipe, classes=classes)
    frames = _frames(source, choice, lengths[0])
    video = write_video(site, f"{source.id}/generation", frames, frames_per_second=FRAMES_PER_SECOND)
    return video, [str(rows["class_name"].iloc[0]) for rows in shown]


def _frames(source: Source, choice: GenerationChoice, length: int) -> Iterator[Pixels]:
    """The frames of these classes; of a single class that has too many, every second or third."""
    every = -(-length // MOST_FRAMES)
    choice = replace(choice, num_last=FRAMES_PER_SECOND * every)
    return islice(generation_frames(source.url, choice), 0, None, every)
