"""The 1,000 classes of ImageNet-1k, in the order that all models use."""

from attrib_core.classifiers.identity import Labels

NUM_CLASSES = 1000


def labels(num_classes: int) -> Labels:
    """Return ImageNet's names and WordNet ids for 1,000 classes, numbers for any other count."""
    if num_classes != NUM_CLASSES:
        return Labels.numbered(num_classes)
    from torchvision.models import ResNet18_Weights  # here, because the import is slow and not always needed

    # torchvision's names, because timm's are not unique ("crane" is a bird and a machine).
    names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return Labels(class_names=tuple(names), wnids=_wnids())


def _wnids() -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo

    information = ImageNetInfo("imagenet-1k")
    return tuple(information.index_to_label_name(index) for index in range(NUM_CLASSES))
