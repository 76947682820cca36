"""Do our attacks in two norms predict what foolbox's predict, on all 10,000 test images, and if not, why?

Each attack that both libraries have, with the same numbers: a fast gradient step in the max norm and in the
Euclidean one, the basic iterative method, and projected gradient descent in both norms from the same random
points. Ours runs as a sweep runs it, foolbox as its documentation shows it. `difference_kinds.py` explains what
differs.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from difference_kinds import KINDS, UNEXPLAINED, Difference, explain
from foolbox_steps import MODEL, SharedAttack, foolbox_steps
from peer_attacks import test_images
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import PreparedModel, prepare

QUICK, BATCH, NUM_STEPS = 200, 500, 10
LEVELS, LENGTHS = (1 / 255, 4 / 255, 8 / 255, 16 / 255), (0.25, 0.5, 1.0, 2.0)

CASES = (
    (SharedAttack(ours="fgsm", theirs="LinfFastGradientAttack", norm="linf"), LEVELS),
    (SharedAttack(ours="fgm_l2", theirs="L2FastGradientAttack", norm="l2"), LENGTHS),
    (
        SharedAttack(ours="bim", theirs="LinfBasicIterativeAttack", norm="linf", num_steps=NUM_STEPS),
        LEVELS[:3],
    ),
    (
        SharedAttack(ours="pgd", theirs="LinfPGD", norm="linf", num_steps=NUM_STEPS, random_start=True),
        LEVELS[:3],
    ),
    (
        SharedAttack(ours="pgd_l2", theirs="L2PGD", norm="l2", num_steps=NUM_STEPS, random_start=True),
        LENGTHS[:3],
    ),
)


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    images, labels = test_images()
    rows: list[Row] = []
    found: Counter[str] = Counter()
    for attack, epsilons in CASES:
        number = options.iterated if attack.num_steps > 1 else len(images)
        number = QUICK if options.quick else number
        for row, kinds in compared(attack, epsilons, images[:number], labels[:number]):
            rows.append(row)
            found += kinds
    total = sum(row["images"] for row in rows)
    publish(
        options,
        rows,
        [
            Finding(name="predictions that differ", value=float(found.total()), unit=f"of {total:,}"),
            Finding(
                name="of these, misled by ours alone",
                value=float(sum(row["misled by ours alone"] for row in rows)),
            ),
            *(Finding(name=f"of these, {kind}", value=float(found[kind])) for kind in KINDS),
            Finding(name=UNEXPLAINED, value=float(found[UNEXPLAINED]), target=0, at_most=True),
        ],
    )


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument(
        "--iterated", type=int, default=10_000, metavar="N", help="images of attacks of many steps"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def compared(
    attack: SharedAttack, epsilons: Sequence[float], images: Tensor, labels: Tensor
) -> Iterator[tuple[Row, Counter[str]]]:
    """Yield for each ε a row of the table, and how many predictions differ, by kind."""
    model = prepare(load_classifier(MODEL))
    differences: dict[float, list[Difference]] = {epsilon: [] for epsilon in epsilons}
    for start in range(0, len(images), BATCH):
        chosen = range(start, min(start + BATCH, len(images)))
        rows = slice(chosen.start, chosen.stop)
        batch = AttackBatch(images=images[rows], labels=labels[rows], keys=tuple(chosen))
        for epsilon, difference in _differences(model, attack, epsilons, batch):
            differences[epsilon].append(difference)
    for epsilon, held in differences.items():
        kinds = Counter(explain(model, replace(attack, epsilon=epsilon), held))
        row = {
            "attack": attack.ours,
            "foolbox's": attack.theirs,
            "ε": f"{255 * epsilon:g}/255" if attack.norm == "linf" else f"{epsilon:g}",
            "images": len(images),
            "differ": len(held),
            "misled by ours alone": sum(each.ours_alone for each in held),
            "because of": ", ".join(f"{kind} ({number})" for kind, number in kinds.most_common()),
        }
        yield row, kinds


def _differences(
    model: PreparedModel, attack: SharedAttack, epsilons: Sequence[float], batch: AttackBatch
) -> Iterator[tuple[float, Difference]]:
    settings = AttackSettings(rounding=False, num_steps=attack.num_steps)
    ours = attack_batch(model, batch, attack.ours, epsilons, settings, keep=range(len(batch.images)))
    for column, epsilon in enumerate(epsilons):
        # foolbox runs an attack anew for each ε.
        theirs = foolbox_steps(replace(attack, epsilon=epsilon), batch)
        predictions = ours.adversarial.prediction[:, column]
        for row in (predictions != theirs.prediction).nonzero()[:, 0].tolist():
            yield (
                epsilon,
                Difference(
                    key=batch.keys[row],
                    image=batch.images[row],
                    label=batch.labels[row],
                    ours=ours.adversarial_images[row, column],
                    prediction=predictions[row],
                    theirs=theirs.prediction[row],
                    fallback=bool(ours.gradient_fallback[row, column]),
                    points=theirs.points[:, row],
                    gradients=theirs.gradients[:, row],
                ),
            )


if __name__ == "__main__":
    main()
