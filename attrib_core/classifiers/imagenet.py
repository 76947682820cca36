"""The classes of ImageNet: the 1,000 that all models know in one order, and those of larger sets."""

from collections.abc import Sequence

from attrib_core.classifiers.identity import Labels

NUM_CLASSES = 1000
ALIKE = 0.9  # of the names
# timm's names of the larger sets, by their number of classes.
LARGER_SETS = {
    11_221: "imagenet-21k-miil",
    11_821: "imagenet-12k",
    21_841: "imagenet-22k",
    21_842: "imagenet-22k-ms",
    21_843: "imagenet-21k-goog",
}


def labels(num_classes: int) -> Labels:
    """Return names and WordNet ids of the ImageNet set of that many classes, numbers for any other count."""
    if num_classes in LARGER_SETS:
        return _larger_labels(num_classes)
    if num_classes != NUM_CLASSES:
        return Labels.numbered(num_classes)
    from torchvision.models import ResNet18_Weights  # here, because the import is slow and not always needed

    # torchvision's names, because timm's are not unique ("crane" is a bird and a machine).
    names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return Labels(class_names=tuple(names), wnids=_wnids())


def has_names(names: Sequence[str]) -> bool:
    """Return True if the names are those of ImageNet's 1,000 classes in their order, with or without synonyms.

    Projects abridge and repair a few names, each in its own way.
    """
    if len(names) != NUM_CLASSES:
        return False
    pairs = zip(names, labels(NUM_CLASSES).class_names, strict=True)
    alike = sum(own.lower() in [each.strip().lower() for each in name.split(",")] for name, own in pairs)
    return alike >= ALIKE * NUM_CLASSES


def _wnids() -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo

    information = ImageNetInfo("imagenet-1k")
    return tuple(information.index_to_label_name(index) for index in range(NUM_CLASSES))


def _larger_labels(num_classes: int) -> Labels:
    from timm.data.imagenet_info import ImageNetInfo

    information = ImageNetInfo(LARGER_SETS[num_classes])
    return Labels(
        class_names=tuple(information.index_to_description(index) for index in range(num_classes)),
        wnids=tuple(information.index_to_label_name(index) for index in range(num_classes)),
    )
