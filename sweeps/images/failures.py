"""Images of a data set that a sweep could not use."""

from collections.abc import Collection, Mapping, Sequence

from attrib_core.datasets import Dataset, UnreadableImagesError, View
from sweeps.store import ImageFailure

# Any view decodes an image, which is all that is asked here.
_ANY_VIEW = View(image_size=8, channels=3)


def image_failures(dataset: Dataset, reasons: Mapping[int, str]) -> list[ImageFailure]:
    """Return the failures of images, by index in the data set, as a commit records them."""
    undecodable = unreadable_images(dataset, reasons.keys())
    return [
        ImageFailure(
            image_index=index,
            key=dataset.keys[index],
            reason=reason,
            sha256=sha256_of(dataset, index),
            readable=index not in undecodable,
        )
        for index, reason in sorted(reasons.items())
    ]


def unreadable_images(dataset: Dataset, indices: Collection[int]) -> set[int]:
    """Return those of the images that cannot be decoded. Raises ValueError where bytes cannot be fetched."""
    unreadable: set[int] = set()
    while rest := [index for index in indices if index not in unreadable]:
        try:
            dataset.images(rest, _ANY_VIEW)
        except UnreadableImagesError as error:
            unreadable |= error.reasons.keys()
        else:
            break
    return unreadable


def readable_images(dataset: Dataset, indices: Sequence[int]) -> list[int]:
    """Return those of the images that can be decoded, in their order."""
    unreadable = unreadable_images(dataset, indices)
    return [index for index in indices if index not in unreadable]


def first_readable(dataset: Dataset, count: int) -> list[int]:
    """Return the first `count` images that can be decoded. Raises ValueError if there are none."""
    found: list[int] = []
    for index in range(len(dataset)):
        found += readable_images(dataset, [index])
        if len(found) == count:
            break
    if not found:
        raise ValueError(f"{dataset.name}: none of its {len(dataset)} images can be decoded")
    return found


def sha256_of(dataset: Dataset, index: int) -> str:
    """Return the SHA-256 of an image's bytes, zeros if they could not be fetched."""
    digest: bytes = dataset.image_digests[index].tobytes()
    return digest.hex()
