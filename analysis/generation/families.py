"""Architecture families: a judge of the generating model's own family is a lenient one."""

import re

import pandas as pd

from analysis.generation.judges import judges_of

# The first that a library's name matches. A name that matches none says nothing.
_FAMILIES = {
    "EfficientNet": r"(^|_)efficientnet",
    "ViT": r"^(vit|deit|deit3|beit|beitv2|eva|eva02|flexivit)_",
    "Swin": r"^swin",
    "ConvNeXt": r"^convnext",
    "Inception": r"(^|_)inception|^googlenet",
    "ResNet": r"(^|_)(wide_)?(se|eca|sk|gc|cs)?res(net|next)",
    "MobileNet": r"(^|_)mobilenet",
    "DenseNet": r"^densenet",
    "RegNet": r"^regnet",
    "VGG": r"^vgg",
    "AlexNet": r"(^|_)alexnet$",
    "SqueezeNet": r"^squeezenet",
    "ShuffleNet": r"^shufflenet",
    "MNASNet": r"^mnasnet",
    "MaxViT": r"^maxvit_",
}
# Whose names are names of architectures, as ours without a colon are.
_LIBRARIES = ("timm", "torchvision", "hf-hub", "transformers")


def architecture_family(model: str) -> str:
    """Return the family of a model by its name in the rows, such as `EfficientNet` for `timm:tf_efficientnet_b0`.

    A model that is not known by its name, such as a user's `net.py:make_net`, is a family of its own, whatever its
    settings and weights are.
    """
    # Settings, weights among them, do not change the architecture.
    target = re.sub(r":\w+=.*", "", model)
    library, _, rest = target.partition(":")
    place = rest.partition(":")[0] if library in _LIBRARIES else target
    # What a user calls a file, a folder or a function says nothing.
    if not (place.isidentifier() or library in _LIBRARIES) or place.startswith(("/", ".", "~")):
        return target
    name = re.sub("[-.]", "_", place.rpartition("/")[2].lower())
    found = (family for family, pattern in _FAMILIES.items() if re.search(pattern, name))
    return next(found, target)


def members(model: str) -> list[str]:
    """Return the models of an ensemble `A+B`, or the model alone."""
    return model.split("+")


def family_notes(rows: pd.DataFrame) -> list[str]:
    """Return a sentence for each family that judges share with the model that made the images of `rows`."""
    models = [member for model in map(str, rows["model"].unique()) for member in members(model)]
    judges: dict[str, list[str]] = {}
    for judge in judges_of(rows):
        if judge.is_judge:
            own = {architecture_family(member) for member in members(judge.name)}
            for family in sorted(own & set(map(architecture_family, models))):
                judges.setdefault(family, []).append(judge.name)
    return [_note(family, names) for family, names in judges.items()]


def _note(family: str, judges: list[str]) -> str:
    return (
        f"{', '.join(judges)}: of the architecture family of the model that made the images, {family}. Networks "
        "of one family share weaknesses: another family would probably recognise fewer of these images. "
        "--judges adds one, such as timm:resnet50."
    )
