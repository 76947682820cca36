"""Images of a data set that a sweep could not use, and whether trying them again may help."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

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
            sha256=_sha256(dataset, index),
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


@dataclass(frozen=True)
class RepairCheck:
    """Says of images that failed whether they have been repaired since; on the driver, which has read the data."""

    dataset: Dataset

    def repaired(self, failures: Collection[ImageFailure]) -> set[int]:
        """Return the images whose bytes are others now, or that could not be decoded then and can be now."""
        changed = {
            each.image_index for each in failures if each.sha256 != _sha256(self.dataset, each.image_index)
        }
        doubtful = {each.image_index for each in failures if not each.readable} - changed
        return changed | (doubtful - unreadable_images(self.dataset, doubtful))


def _sha256(dataset: Dataset, index: int) -> str:
    digest: bytes = dataset.image_digests[index].tobytes()
    return digest.hex()
