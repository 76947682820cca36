"""The commands of `attrib-sweeps`, by name: the module that each one runs, what it is for, and two examples.

A module has `main(arguments)`, which returns an exit status or nothing. Examples are written without
`attrib-sweeps COMMAND`. This file imports nothing of the project: building the wheel reads it too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command; `examples` are the arguments of two commands that can be typed as they stand."""

    module: str
    summary: str
    examples: tuple[str, str]


SWEEPS = {
    "attack": Command(
        "sweeps.attack_all",
        "How fragile is a model: adversarial images at many ε.",
        (
            "--images 0-499 --methods fgsm,random_sign --output runs/attack",
            "--model net.py:make_net --weights last.ckpt --dataset imagefolder:photos --methods fgsm,pgd",
        ),
    ),
    "generate": Command(
        "sweeps.generate_all",
        "What does it think a class, or a unit of a layer, looks like?",
        (
            "--classes 291,779,963 --recipes fast --output runs/generate",
            "--model net.py:make_net --weights last.ckpt --classes all --seeds 0-3",
        ),
    ),
    "activations": Command(
        "sweeps.activations_all",
        "Which images activate a unit or class most?",
        (
            "--classes all --output runs/activations",
            "--units blocks.4.1:0-63 --dataset imagefolder:photos --top 16",
        ),
    ),
    "attribute": Command(
        "sweeps.attribute_all",
        "What does it look at: images x attribution methods.",
        (
            "--images 0-199 --methods gradient_x_input,occlusion --output runs/attribute",
            "--model net.py:make_net --weights last.ckpt --dataset imagefolder:photos "
            "--methods integrated_gradients",
        ),
    ),
    "attribute-training": Command(
        "sweeps.attribute_training",
        "How did it come to look there: attribution along a training.",
        (
            "--epochs 1 --every 10 --output runs/attribute_training",
            "--learning-rates 0.001,0.01 --seeds 0-3",
        ),
    ),
    "modify": Command(
        "sweeps.modify_all",
        "How little turns a real image into another class?",
        (
            "--images 0-7 --targets all --output runs/modify",
            "--model net.py:make_net --weights last.ckpt --dataset imagefolder:photos",
        ),
    ),
    "tune": Command(
        "sweeps.tune_recipe",
        "Which recipe parameters suit my model?",
        ("--num-samples 32 --output runs/tune_recipe", "--time-budget 3600 --classes 0-999"),
    ),
    "train": Command(
        "sweeps.train_classifier",
        "Train one of the small networks; weights and checkpoints.",
        (
            "--model fashion_alexnet --output alexnet.safetensors",
            "--model flower_deep --dataset flowers --data-root flowers --output flowers.safetensors",
        ),
    ),
}

RUNS = {
    "report": Command(
        "analysis.report.__main__",
        "HTML pages of one run or several.",
        ("runs/attack --output report", "runs/attack runs/generate --output report --title 'My network'"),
    ),
    "claims": Command(
        "analysis.claims.__main__",
        "The original work's claims beside what was measured.",
        ("runs/attack runs/generate", "runs/attack --output claims"),
    ),
    "video": Command(
        "analysis.video",
        "A generation, or attribution along a training, as a video.",
        (
            "runs/attribute_training --output training.mp4",
            "runs/attribute_training --output training.mp4 --method gradient_x_input",
        ),
    ),
    "blind": Command(
        "analysis.blind.__main__",
        "Numbered pictures without labels, and the score of what people name them.",
        ("runs/generate --output naming", "score naming/guesses.csv --key naming-key.csv"),
    ),
    "store": Command(
        "sweeps.store.__main__",
        "Maintenance of a run directory: verify, gc, status, export-webdataset.",
        ("status runs/attack", "verify runs/attack"),
    ),
    "doctor": Command(
        "sweeps.doctor.__main__",
        "What this machine can do: versions, devices, memory, Ray, storage, extras.",
        ("--quick", "--output s3://bucket/runs"),
    ),
}


def _figure(module: str, summary: str, run: str, example: str) -> Command:
    return Command(f"analysis.{module}", summary, (f"{run} --output figures", f"{run} {example}"))


_ATTACK, _GENERATE, _ATTRIBUTE = "runs/attack", "runs/generate", "runs/attribute"
FIGURES = {
    "success-rates": Command(
        "analysis.success_rates",
        "How often attacks succeed, with intervals: a table.",
        ("runs/attack --by method,epsilon", "runs/attack --by method,epsilon --output rates.csv"),
    ),
    "curves": _figure(
        "attacks.curves", "Accuracy and success against ε.", _ATTACK, "--output figures --rounded"
    ),
    "triptychs": _figure(
        "attacks.triptychs",
        "Images before and after an attack.",
        _ATTACK,
        "--output figures --methods fgsm --epsilons 8/255",
    ),
    "confusion": _figure(
        "attacks.confusion",
        "What images are taken for under attack.",
        _ATTACK,
        "--output figures --rounded",
    ),
    "class-success": _figure(
        "attacks.class_success", "Success by class and ε.", _ATTACK, "--output figures --against label"
    ),
    "minimum-epsilon": _figure(
        "attacks.minimum_epsilon",
        "The distribution of the minimum ε.",
        _ATTACK,
        "--output figures --denominator all",
    ),
    "worst-case": _figure(
        "attacks.worst_case", "The worst case over all attacks.", _ATTACK, "--output figures --format latex"
    ),
    "security-curves": _figure(
        "attacks.security_curves",
        "Robust accuracy against ε in each norm.",
        _ATTACK,
        "--output figures --rounded",
    ),
    "transfer": _figure(
        "attacks.transfer",
        "How often images made for one model mislead another.",
        _ATTACK,
        "runs/other --output figures",
    ),
    "comparison": Command(
        "analysis.attacks.comparison",
        "Two runs, methods or checkpoints on the same images.",
        ("runs/attack runs/other --output figures", "runs/attack --methods fgsm,pgd --output figures"),
    ),
    "along-training": _figure(
        "attacks.along_training",
        "Robust accuracy of each checkpoint.",
        _ATTACK,
        "--output figures --epsilons 1/255,8/255",
    ),
    "masked-gradients": _figure(
        "attacks.masked_gradients",
        "Signs that an attack failed for want of a gradient.",
        _ATTACK,
        "--output warnings",
    ),
    "judge-accuracy": Command(
        "analysis.generation.judge_accuracy",
        "How many generated images judges take for the intended class.",
        ("runs/generate", "runs/generate --by recipe,class_name --output judges.csv"),
    ),
    "contact-sheets": _figure(
        "generation.contact_sheets",
        "Generated images, class by seed.",
        _GENERATE,
        "--output figures --recipe fast",
    ),
    "recipe-strips": _figure(
        "generation.recipe_strips",
        "The same class by every recipe.",
        _GENERATE,
        "--output figures --recipes default,fast",
    ),
    "gallery": Command(
        "analysis.units.gallery",
        "Pictures of units by layer.",
        ("runs/units --output figures", "runs/units --output figures --natural runs/activations"),
    ),
    "grids": _figure(
        "attribution.grids",
        "Images beside their attributions.",
        _ATTRIBUTE,
        "--output figures --images 0,5 --overlay",
    ),
    "scores": _figure(
        "attribution.scores",
        "How faithful attributions are.",
        _ATTRIBUTE,
        "--output figures --methods gradient,occlusion",
    ),
    "sanity": _figure(
        "attribution.sanity",
        "Do maps change when layers are drawn anew?",
        _ATTRIBUTE,
        "--output figures --format latex",
    ),
    "trust": _figure(
        "attribution.trust",
        "Methods by scores and sanity check, in a table.",
        _ATTRIBUTE,
        "--output figures --format markdown",
    ),
    "agreement": _figure(
        "attribution.agreement",
        "How far attribution methods agree.",
        _ATTRIBUTE,
        "--output figures --absolute",
    ),
    "recapitulation": Command(
        "analysis.training.recapitulation",
        "Similarity of the loss gradient with the input, along training.",
        (
            "runs/attribute_training --output figures",
            "runs/attribute_training --output figures --method gradient_x_input",
        ),
    ),
    "gradients": Command(
        "analysis.training.gradients",
        "The loss gradient integrated over a training.",
        ("runs/attribute_training --output figures", "runs/attribute_training --output figures --until 500"),
    ),
    "proposal": Command(
        "analysis.training.proposal",
        "Is the gradient integrated over training any good?",
        (
            "runs/attribute_integrated --output figures",
            "runs/attribute_integrated --output figures --format latex",
        ),
    ),
    "modification": Command(
        "analysis.modification.__main__",
        "Images modified towards other classes.",
        ("runs/modify --output figures", "runs/modify --output figures --num-images 4"),
    ),
}

GROUPS = {"Sweeps": SWEEPS, "Run directories": RUNS, "Figures and tables": FIGURES}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
