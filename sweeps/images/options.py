"""Options of every sweep over the images of a data set."""

from pathlib import Path

from pydantic import Field

from sweeps.cli import SweepOptions
from sweeps.ranges import parse_integers


class ImageOptions(SweepOptions):
    """Which classifier, and which images it looks at."""

    model: str = Field("fashion_deep", description="The classifier.")
    weights: str | None = Field(None, description="Local weights file, or named weights.")
    dataset: str = Field(
        "fashion_mnist", description="fashion_mnist, flowers, imagenet, imagefolder:PATH or parquet:URL."
    )
    data_root: Path | None = Field(None, description="Folder that holds the data set.")
    split: str | None = Field(None, description="Part of the data set; the test set if not given.")
    image_column: str | None = Field(
        None, description="Parquet column of the images, where it cannot be found without doubt."
    )
    label_column: str | None = Field(
        None, description="Parquet column of the labels, where it cannot be found without doubt."
    )
    images: str = Field("all", description="Images by index: `0-999` or `all`.")


def parse_saved(field: str, text: str, num_images: int) -> frozenset[int]:
    """Return the images to be stored: `0-15`, `all` or `none`; a small set may lack some of them."""
    if text == "none":
        return frozenset()
    limit = None if text[:1].isdigit() else num_images  # the default names images that a small set may lack
    return frozenset(parse_integers(field, text, limit=limit))
