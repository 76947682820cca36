"""Videos: an image as it is generated, attribution as it changes along training.

python -m analysis.video RUN --output FILE.mp4|FILE.webm [--fps N]
    of generate_all.py --frames: [--recipe NAME] [--classes N,N] [--seed N]
    of attribute_training.py:    [--method gradient_x_input] [--trial NAME] [--every N] [--overlay]
                                 [--scale frame|training]

Of generation, one class after another, a frame for each stored step: the image beside the scatter of all logits,
the target marked and named, its rank and probability below. Unless told otherwise: the recipe `default` where it
has frames, the smallest seed, all classes that have frames.

Of training, a frame for each state of the network: the panel's images, each beside its attribution, framed green
where the prediction is right and red where it is wrong. `--scale frame` (the default) gives each attribution a
scale of its own in each frame, so that early, faint ones are seen; `--scale training` gives each image one scale
for the whole video, the largest of its frames', so that growth is seen.

The file's suffix chooses H.264 or VP9.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.attribution.attributions import TRAINING
from analysis.command_line import exit_status
from analysis.drawing.encoding import VideoWriter, video_format
from analysis.drawing.pixels import Pixels
from analysis.generation.frames import GENERATE
from analysis.generation.video import GenerationChoice, generation_frames
from analysis.run import Run, open_sweep
from analysis.training.video import SCALES, VideoChoice, video_frames

# Few frames show a generation, thousands a training.
FRAMES_PER_SECOND = {GENERATE: 10, TRAINING: 30}
# Options that each kind of sweep accepts.
_OPTIONS = {
    GENERATE: ("recipe", "classes", "seed"),
    TRAINING: ("method", "trial", "every", "overlay", "scale"),
}


def frames(options: argparse.Namespace, run: Run, frames_per_second: int) -> Iterator[Pixels]:
    """Return the frames of the video that the command line asks for. ValueError for an option of another sweep."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name in sum((names for sweep, names in _OPTIONS.items() if sweep != run.kind), ()):
        if name in given:
            raise ValueError(
                f"--{name} is given, but {run} is of sweep {run.kind!r}: accepted are "
                f"{', '.join(f'--{accepted}' for accepted in _OPTIONS[run.kind])}"
            )
    chosen = {name: given[name] for name in _OPTIONS[run.kind] if name in given}
    if run.kind == TRAINING:
        return video_frames(run, VideoChoice(**chosen))
    # The finished image stays for a second.
    return generation_frames(run, GenerationChoice(**chosen, num_last=frames_per_second))


def class_indices(text: str) -> tuple[int, ...]:
    """Return class indices from a text with commas between them, for argparse."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not accepted; accepted: indices such as 963,980"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.video", description="Generation step by step, or attribution along training."
    )
    parser.add_argument("run", metavar="RUN", help="run directory: path or URL")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the video: .mp4 or .webm")
    parser.add_argument("--fps", metavar="N", type=int, help="frames a second (generation 10, training 30)")
    of_generation = parser.add_argument_group("of generation")
    of_generation.add_argument("--recipe", metavar="NAME", help="whose images (default, if it has frames)")
    of_generation.add_argument("--classes", metavar="N,N", type=class_indices, help="one after another (all)")
    of_generation.add_argument("--seed", metavar="N", type=int, help="which image of a class (the smallest)")
    training = parser.add_argument_group("of training")
    training.add_argument("--method", help=f"whose attributions ({VideoChoice.method})")
    training.add_argument("--trial", metavar="NAME", help="whose training; needed where the run has several")
    training.add_argument("--every", metavar="N", type=int, help="a frame every N steps (1)")
    training.add_argument(
        "--overlay", action="store_true", default=None, help="attributions on the grey images"
    )
    training.add_argument("--scale", choices=SCALES, help="whose largest values have full colour (frame)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the video that the command line asks for, and print its path."""
    options = _parser().parse_args(arguments)
    video_format(options.output)
    run = open_sweep(options.run, GENERATE, TRAINING)
    frames_per_second = FRAMES_PER_SECOND[run.kind] if options.fps is None else options.fps
    with VideoWriter(options.output, frames_per_second=frames_per_second) as video:
        for frame in frames(options, run, frames_per_second):
            video.write(frame)
    print(options.output)


if __name__ == "__main__":
    sys.exit(exit_status(main))
