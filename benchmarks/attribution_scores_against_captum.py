"""How fast, and how exactly, are infidelity and maximum sensitivity over test images, against captum.metrics?

The same model, images, class, draws, cores and process. Ours is one call of `attribute` for all methods and both
scores, the maps included. captum's user calls `infidelity` (plain, and with `normalize`, since ours has both) and
`sensitivity_max` method by method, with captum's own attribution functions, at several batches, of which the
fastest counts; methods that captum lacks are built from its own. All sides take turns, chunk by chunk. Integrated
gradients and the nine methods take captum minutes: they are timed on fewer images, and compared by image.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max
from peer_attacks import test_images
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.attribution import METHODS, AttributionSettings, attribute
from attrib_core.attribution.scores import InfidelitySettings, MaxSensitivitySettings
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.prepared import PreparedModel, prepare
from cluster.process_memory import keep_freed_memory

MODEL = "fashion_deep"
SETTINGS = AttributionSettings(window_size=4, stride=2, num_steps=50, num_samples=25)
SCORES = ("infidelity", "max_sensitivity")
SQUARES, POINTS = InfidelitySettings(), MaxSensitivitySettings()
OURS = "ours"
PASS = (
    200  # images in a pass of captum's methods that have several an image; see attribution_against_captum.py
)
NINE = (
    *("gradient", "abs_gradient_x_input", "gradient_x_input", "loss_gradient", "loss_gradient_x_input"),
    *("occlusion", "occlusion_gradient_x_input", "integrated_gradients", "smooth_grad"),
)
# A question: its methods, and for captum how many images are handed over and its max_examples_per_batch.
QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[tuple[int, int], ...]]] = {
    "gradient_x_input": (
        ("gradient_x_input",),
        ((10, 100), (20, 200), (50, 500), (100, 1000), (200, 200)),
    ),
    "integrated_gradients": (("integrated_gradients",), ((20, 200), (50, 500))),
    "all nine methods": (NINE, ((20, 200), (50, 500))),
}

# Maps images `[B, C, H, W]` and classes `[B]` to attributions.
Explain = Callable[..., Tensor]


@dataclass
class Side:
    """One way to answer a question: seconds and images of its turns, and the scores by column."""

    question: str
    name: str
    run: Callable[[range, Tensor, Tensor], dict[str, Tensor]]  # `[B, M]` by column
    seconds: float = 0.0
    num_images: int = 0
    scores: list[dict[str, Tensor]] = field(default_factory=list)
    seconds_of_normalize: float = 0.0

    def take_turn(self, keys: range, images: Tensor, classes: Tensor) -> None:
        """Score the maps of a chunk."""
        begin = time.perf_counter()
        self.scores.append(self.run(keys, images, classes))
        self.seconds += time.perf_counter() - begin
        self.num_images += len(images)

    @property
    def pace(self) -> float:
        """Seconds an image."""
        return self.seconds / self.num_images


def our_side(question: str, model: PreparedModel) -> Side:
    """Return ours, at the batch size that we choose."""

    def run(keys: range, images: Tensor, classes: Tensor) -> dict[str, Tensor]:
        methods = QUESTIONS[question][0]
        found = attribute(
            model, images, classes, methods, target="label", settings=SETTINGS, scores=SCORES, keys=keys
        )
        return found.scores

    return Side(question, OURS, run)


def captum_side(question: str, classifier: Classifier, sizes: tuple[int, int]) -> Side:
    """Return captum's side at one pair of sizes: images handed over, and perturbed ones at once."""
    run = partial(captum_scores, QUESTIONS[question][0], classifier, sizes)
    side = Side(question, f"captum, {sizes[0]} images, {sizes[1]} at once", lambda *_: {})
    side.run = partial(run, side)
    return side


def captum_scores(
    methods: Sequence[str],
    classifier: Classifier,
    sizes: tuple[int, int],
    side: Side,
    keys: range,
    images: Tensor,
    classes: Tensor,
) -> dict[str, Tensor]:
    """Score method by method, in parts of the images."""
    columns: dict[str, list[list[Tensor]]] = {}
    for start in range(0, len(images), sizes[0]):
        rows = slice(start, start + sizes[0])
        squares = Draws(SQUARES.perturbed(images[rows], keys[rows]))
        points = Draws(POINTS.perturbed(images[rows], keys[rows]))
        scored = [
            _captum_scores_of(
                method, classifier, sizes[1], side, (images[rows], classes[rows], squares, points)
            )
            for method in methods
        ]
        for column in scored[0]:
            columns.setdefault(column, []).append([each[column] for each in scored])
    return {column: torch.cat([torch.stack(each, 1) for each in parts]) for column, parts in columns.items()}


def _captum_scores_of(
    method: str, classifier: Classifier, batch_size: int, side: Side, part: Any
) -> dict[str, Tensor]:
    images, classes, squares, points = part
    forward = partial(answer, classifier, METHODS[method].explains_loss)
    explain = explanations(forward)[method]
    perturb = infidelity_perturb_func_decorator(METHODS[method].of_inputs)(squares)
    values = explain(images, additional_forward_args=classes).detach()
    options = {"additional_forward_args": classes, "max_examples_per_batch": batch_size}
    found = {"infidelity": infidelity(forward, perturb, images, values, **options)}
    begin = time.perf_counter()
    found["infidelity_scaled"] = infidelity(forward, perturb, images, values, normalize=True, **options)
    side.seconds_of_normalize += time.perf_counter() - begin
    found["max_sensitivity"] = sensitivity_max(as_given(explain), images, points, **options)
    return found


class Draws:
    """A `perturb_func` of captum that gives out perturbed images `[B, S, C, H, W]`, some samples at a time."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.next = images, 0

    def __call__(self, expanded: Tensor) -> Tensor:
        num_samples = len(expanded) // len(self.images)
        found = self.images[:, self.next : self.next + num_samples].flatten(0, 1)
        self.next = (self.next + num_samples) % self.images.shape[1]
        return found


def answer(classifier: Classifier, of_loss: bool, points: Tensor, classes: Tensor) -> Tensor:
    """Return the explained number of each point."""
    logits = classifier(points)
    if of_loss:
        return F.cross_entropy(logits, classes, reduction="none")
    return logits.gather(1, classes[:, None])[:, 0]


def explanations(forward: Callable[..., Tensor]) -> dict[str, Explain]:
    """Return the nine methods, built from captum's."""
    gradient = partial(Saliency(forward).attribute, abs=False)
    gradient_x_input = InputXGradient(forward).attribute
    integrated = partial(
        IntegratedGradients(forward).attribute, n_steps=SETTINGS.num_steps, internal_batch_size=PASS
    )

    def occlusion(images: Tensor, **rest: Any) -> Tensor:
        return Occlusion(forward).attribute(
            images,
            sliding_window_shapes=(1, 4, 4),
            strides=(1, 2, 2),
            perturbations_per_eval=max(1, PASS // len(images)),
            **rest,
        )

    def smooth(images: Tensor, **rest: Any) -> Tensor:
        return NoiseTunnel(Saliency(forward)).attribute(
            images,
            nt_samples=SETTINGS.num_samples,
            nt_samples_batch_size=max(1, PASS // len(images)),
            stdevs=SETTINGS.noise,
            abs=False,
            **rest,
        )

    return {
        "gradient": gradient,
        "abs_gradient_x_input": lambda images, **rest: gradient(images, **rest).abs() * images,
        "gradient_x_input": gradient_x_input,
        "loss_gradient": gradient,
        "loss_gradient_x_input": gradient_x_input,
        "occlusion": occlusion,
        "occlusion_gradient_x_input": lambda images, **rest: (
            (normed(occlusion(images, **rest)) + normed(gradient_x_input(images, **rest))) / 2
        ),
        "integrated_gradients": integrated,
        "smooth_grad": smooth,
    }


def normed(values: Tensor) -> Tensor:
    """Return values divided by the largest absolute value of their image."""
    largest = values.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(largest == 0, 0.0, values / largest)


def as_given(explain: Explain) -> Callable[..., Any]:
    """Return an explanation of what captum hands over: a tuple for the clean images, else a tensor."""

    def explained(images: Any, **rest: Any) -> Any:
        if isinstance(images, tuple):
            return tuple(explain(each, **rest).detach() for each in images)
        return explain(images, **rest).detach()

    return explained


def take_turns(sides: list[Side], images: Tensor, labels: Tensor, chunk: int) -> None:
    """Run all chunks on all sides, after a warm-up that does not count."""
    for side in sides:
        side.run(range(8), images[:8], labels[:8])
        side.seconds_of_normalize = 0.0
    for start in range(0, len(images), chunk):
        rows = slice(start, start + chunk)
        keys = range(start, min(start + chunk, len(images)))
        for side in sides:
            side.take_turn(keys, images[rows], labels[rows])


def findings(sides: list[Side]) -> list[Finding]:
    """Return the ratios of times, and the differences of scores, by question."""
    found = []
    for question in QUESTIONS:
        ours, *peers = [side for side in sides if side.question == question]
        best = min(peers, key=lambda side: side.pace)
        found.append(
            Finding(
                name=f"{question} / captum at its best ({best.name})",
                value=best.pace / ours.pace,
                unit="x",
                target=5.0,
            )
        )
        plain = (best.seconds - best.seconds_of_normalize) / best.num_images
        found.append(
            Finding(name=f"{question}: without captum's normalize", value=plain / ours.pace, unit="x")
        )
        found += differences(question, ours, best)
    return found


def differences(question: str, ours: Side, theirs: Side) -> list[Finding]:
    """Return which scores are captum's. smooth_grad draws its own noise there; kinks move integrated gradients."""
    methods = QUESTIONS[question][0]
    kept = [place for place, name in enumerate(methods) if name != "smooth_grad"]
    shares = []
    for column in theirs.scores[0]:
        one, other = (torch.cat([part[column] for part in side.scores])[:, kept] for side in (ours, theirs))
        shares.append(torch.isclose(one, other, rtol=1e-3, atol=1e-4).float().mean().item())
    return [Finding(name=f"{question}: scores within 0.1 % of captum's", value=min(shares))]


def rows(sides: list[Side]) -> list[Row]:
    """Return a row for each side."""
    pace = {side.question: side.pace for side in sides if side.name == OURS}
    return [
        {
            "methods": side.question,
            "side": side.name,
            "images": side.num_images,
            "seconds": side.seconds,
            "s / 1,000 images": 1000 * side.pace,
            "of ours": side.pace / pace[side.question],
        }
        for side in sides
    ]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=1000, help="for gradient_x_input")
    parser.add_argument("--images-of-integrated", type=int, default=200, help="for integrated_gradients")
    parser.add_argument("--images-of-all", type=int, default=200, help="for the nine methods")
    parser.add_argument("--chunk", type=int, default=200, help="images a turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # captum's, of inputs that it makes require gradients, at each call
    keep_freed_memory()  # as in an actor; it makes captum faster too
    images, labels = test_images()
    counts = (options.images, options.images_of_integrated, options.images_of_all)
    sides: list[Side] = []
    model = prepare(load_classifier(MODEL), device="cpu")
    for (question, (_, batches)), count in zip(QUESTIONS.items(), counts, strict=True):
        part = slice(8 if options.quick else count)
        asked = [our_side(question, model)]
        asked += [captum_side(question, load_classifier(MODEL), sizes) for sizes in batches]
        take_turns(asked, images[part], labels[part], options.chunk)
        sides += asked
    publish(options, rows(sides), findings(sides))


if __name__ == "__main__":
    main()
