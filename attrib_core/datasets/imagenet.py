"""ImageNet-1k's validation set: 50,000 photographs, in one folder a class, named by its WordNet id."""

from attrib_core.classifiers import imagenet
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.image_files import class_folders, folder_dataset
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import choose_split

HOW_TO_GET = "give the folder that has val/<WordNet id>/*.JPEG as --data-root (see image-net.org/download)"
NUM_NAMED = 3  # missing classes that a message names


@register("imagenet")
def imagenet_validation(request: Request) -> Dataset:
    """Return the validation set in the root or its `val/`; ValueError unless all 1,000 classes are there."""
    split = choose_split(request.name, ("val",), request.split)
    if request.root is None:
        raise ValueError(f"dataset={request.name!r}: needs a data root; {HOW_TO_GET}")
    folder = request.root / "val" if (request.root / "val").is_dir() else request.root
    wnids = sorted(imagenet.labels(imagenet.NUM_CLASSES).wnids)
    missing = sorted(set(wnids) - set(class_folders(folder)))
    if missing:
        raise ValueError(
            f"data_root={str(request.root)!r}: {str(folder)!r} lacks {len(missing)} of {len(wnids)} class "
            f"folders, such as {', '.join(missing[:NUM_NAMED])}; {HOW_TO_GET}"
        )
    return folder_dataset(request, folder, split, wnids)
