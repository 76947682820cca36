"""How fast are attacks that pass an image many times, PGD and minimum ε, against foolbox? What does a victim cost?

The same network, images and cores; sides take turns chunk by chunk, ours in a process set up as an actor is, and
foolbox in one as its users have it, at several batch sizes, of which its fastest counts.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from attack_against_peers import Run, Side, forward_passes, ours, start
from peer_attacks import EPSILONS, foolbox, test_images
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.victims import Onlooker
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import PreparedModel, prepare
from cluster.process_memory import keep_freed_memory
from sweeps.attack.job import PASSES_OF_LEAVING_IMAGES

MODEL = "fashion_deep"
STEPS, PGD_EPSILONS = 40, tuple(level / 255 for level in (2, 4, 8, 16))
PEER_BATCHES = (100, 200, 500)
NUM_OWN = 5  # of the sides
# foolbox halves the way from the image to grey so often: to 0.008/255, where ours stops at 0.01/255.
HALVINGS = 15


def our_runs() -> dict[str, Run]:
    """Return our sides, set up as in an actor."""
    keep_freed_memory()
    model, victim = (prepare(load_classifier(MODEL), device="cpu") for _ in range(2))
    return {
        "pgd": partial(attacked, model, f"pgd:num_steps={STEPS}", PGD_EPSILONS),
        "minimum": partial(attacked, model, "minimum_fgsm", (0.0,)),
        "fgsm": partial(ours, model, EPSILONS),
        "fgsm and a victim": partial(with_victim, model, victim),
        "12 forward passes": partial(forward_passes, model, 12),
    }


def peer_runs() -> dict[str, Run]:
    """Return foolbox's sides."""
    model = foolbox.PyTorchModel(load_classifier(MODEL), (0, 1), device="cpu")
    pgd = foolbox.attacks.LinfProjectedGradientDescentAttack(steps=STEPS, rel_stepsize=2.5 / STEPS)
    search = foolbox.attacks.BinarySearchContrastReductionAttack(binary_search_steps=HALVINGS)
    return {
        "pgd": lambda images, labels: pgd(model, images, labels, epsilons=list(PGD_EPSILONS))[2].T,
        "minimum": lambda images, labels: search(model, images, labels, epsilons=None)[2][:, None],
    }


def attacked(
    model: PreparedModel, method: str, epsilons: Sequence[float], images: Tensor, labels: Tensor
) -> Tensor:
    """Return whether an attack succeeds, without the look at rounded images that no peer does."""
    batch = AttackBatch(images=images, labels=labels, keys=tuple(range(len(images))))
    found = attack_batch(model, batch, method, epsilons, AttackSettings(rounding=False))
    return found.adversarial.prediction != labels[:, None]


def with_victim(model: PreparedModel, victim: PreparedModel, images: Tensor, labels: Tensor) -> Tensor:
    """Return what FGSM's images make a victim predict."""
    batch, onlooker = AttackBatch(images=images, labels=labels), Onlooker(victim, images)
    settings = AttackSettings(rounding=False)
    attack_batch(model, batch, "fgsm", EPSILONS, settings, onlookers=[onlooker])
    return onlooker.answers(labels).prediction


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--chunk", type=int, default=1000, help="images a turn")
    options = parser.parse_args()
    num_images = 200 if options.quick else 2000
    sides = sides_of(our_runs, peer_runs, options.threads)
    for side in sides:
        side.take_turn(0, min(side.batch_size, 200), keeps=False)  # a warm-up
        side.seconds.clear()
    for begin in range(0, num_images, options.chunk):
        for side in sides:
            side.take_turn(begin, min(num_images, begin + options.chunk), keeps=True)
    for process in {side.process for side in sides}:
        process.send(None)
    rows = [row(side, num_images, is_peer=number >= NUM_OWN) for number, side in enumerate(sides)]
    publish(options, rows, findings(sides))


def sides_of(
    ours_there: Callable[[], dict[str, Run]], peers_there: Callable[[], dict[str, Run]], num_threads: int
) -> list[Side]:
    """Return all sides that take turns, ours first."""
    here, there = (start(build, num_threads) for build in (ours_there, peers_there))
    pass_size = prepare(load_classifier(MODEL), device="cpu").batch_size
    several = PASSES_OF_LEAVING_IMAGES * pass_size
    own = [Side(name, several, here) for name in ("pgd", "minimum")]
    own += [Side(name, pass_size, here) for name in ("fgsm", "fgsm and a victim", "12 forward passes")]
    return own + [Side(name, size, there) for name in ("pgd", "minimum") for size in PEER_BATCHES]


def row(side: Side, num_images: int, *, is_peer: bool) -> Row:
    """Return what is printed of a side."""
    answers = torch.cat(side.answers).float()
    return {
        "side": f"{side.name}, foolbox" if is_peer else side.name,
        "batch": side.batch_size,
        "seconds": side.total(),
        "ms an image": 1000 * side.total() / num_images,
        "succeeds": " ".join(f"{share:.3f}" for share in answers.mean(0).tolist())
        if side.name in ("pgd", "minimum")
        else "",
    }


def findings(sides: Sequence[Side]) -> list[Finding]:
    """Return the ratios of times."""
    own = {side.name: side.total() for side in sides[:NUM_OWN]}
    best = {
        name: min(side.total() for side in sides[NUM_OWN:] if side.name == name)
        for name in ("pgd", "minimum")
    }
    victim = (own["fgsm and a victim"] - own["fgsm"]) / own["12 forward passes"]
    return [
        Finding(
            name=f"PGD-{STEPS} at four ε / foolbox, its best batch",
            value=best["pgd"] / own["pgd"],
            unit="x",
            target=2.5,
        ),
        Finding(
            name="minimum ε / foolbox's binary search, its best batch",
            value=best["minimum"] / own["minimum"],
            unit="x",
            target=3.0,
        ),
        Finding(
            name="price of a victim", value=victim, unit="forward passes per ε", target=1.1, at_most=True
        ),
    ]


if __name__ == "__main__":
    test_images()  # read once before the processes do, so that a missing data set is one error
    main()
