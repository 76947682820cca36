"""All claims, in the order of the original's sections, and what in it no sweep here puts to the test."""

from analysis.claims import (
    accuracy,
    along_training,
    attacks,
    from_noise,
    generated_images,
    modified_images,
    static_attribution,
)
from analysis.claims.claim import Claim

SECTIONS = (
    "Introduction: Fashion MNIST",
    "Flower Type Identification",
    "Adversarial Examples",
    "Additive Attributions for Non-Locality",
    "Modifying an input via gradient descent",
    "Generating Images using Prior Assumptions",
)

_MODULES = (
    accuracy,
    attacks,
    along_training,
    static_attribution,
    from_noise,
    modified_images,
    generated_images,
)

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (claim for module in _MODULES for claim in module.CLAIMS),
        key=lambda each: SECTIONS.index(each.section),
    )
)

# Section, statement, and why it is not in the table.
UNTESTED: tuple[tuple[str, str, str], ...] = (
    (
        SECTIONS[0],
        "The AlexNet trains much more slowly than the deep network.",
        "a matter of the machine; train_classifier.py prints the pace of both",
    ),
    (
        SECTIONS[0],
        "Elbows and collars of coats get more attribution than the rest.",
        "nobody has marked them in the images; `python -m analysis.attribution.grids` shows them",
    ),
    (
        SECTIONS[1],
        "Pairs of flowers are told apart with up to 91 %.",
        "train_classifier.py --model flower_deep --dataset flowers --data-root FLOWERS --classes dandelion,rose "
        "prints the accuracy, but no sweep takes two of a data set's classes",
    ),
    (
        SECTIONS[1],
        "Without colours flowers are told apart less well.",
        "two trainings, of flower_deep and flower_deep_grey; train_classifier.py prints both accuracies",
    ),
    (
        SECTIONS[2],
        "Adversarial examples follow from functions of many variables that cannot be continuous and one to one.",
        "an argument, not a measurement",
    ),
    (
        SECTIONS[2],
        "FGSM works on nearly any image of CIFAR with an AlexNet.",
        "quoted from others' work",
    ),
    (
        SECTIONS[2],
        "Colours of the image come back in the gradient as other colours.",
        "seen in single pictures of flowers",
    ),
    (
        SECTIONS[5],
        "Decaying the learning rate and normalising the gradient do not make the images much better.",
        "sweeps/tune_recipe.py searches such settings, but not for this recipe",
    ),
    (
        SECTIONS[5],
        "A 3×3 box over the worked example gives 22/9 at its centre.",
        "arithmetic: a unit test of attrib_core holds it",
    ),
    (
        SECTIONS[5],
        "Other seeds show other sides of a tractor, a badger, an ant; of a keyboard always the same.",
        "seen by eye; `python -m analysis.generation.contact_sheets` shows class × seed",
    ),
    (
        SECTIONS[5],
        "Jitter may be as large as 0.05; rotation and translation may be added.",
        "a remark on what can be done; the recipe transform does it",
    ),
)
