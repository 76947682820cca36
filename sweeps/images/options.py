"""Options of every sweep over the images of a data set."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from attrib_core.datasets import BoxesFormat, LabelOrder
from sweeps.images.labels import LabelChoice
from sweeps.model_options import ModelOptions
from sweeps.ranges import parse_integers

# The first images of --images: whoever asks for other ones wants to see those.
FIRST, NUM_FIRST = "first", 16


class ImageOptions(ModelOptions):
    """Which classifier, and which images it looks at."""

    model: str = Field("fashion_deep", description="The classifier.")
    image_size: int | None = Field(
        None, ge=1, description="Side to which the classifier's images are resized; its own if not given."
    )
    dataset: str = Field(
        "fashion_mnist",
        description="fashion_mnist, flowers, imagenet, imagefolder:PATH, parquet:URL, torchvision:NAME, hf:NAME, "
        "or your own, FILE.py:FUNCTION.",
    )
    data_root: Path | None = Field(None, description="Folder that holds the data set.")
    split: str | None = Field(None, description="Part of the data set; the test set if not given.")
    image_column: str | None = Field(
        None, description="Column or key of the images, where it cannot be found without doubt."
    )
    label_column: str | None = Field(
        None, description="Column or key of the labels, where it cannot be found without doubt."
    )
    boxes_column: str | None = Field(
        None,
        description="Column of boxes in Parquet files, for pointing_game; `objects.bbox` is a field of one.",
    )
    boxes_format: BoxesFormat = Field(
        "xyxy",
        description="Numbers of a box: two corners, or a corner, width and height (`xywh`), in pixels.",
    )
    images: str = Field("all", description="Images by index: `0-999` or `all`.")
    labels: Path | None = Field(
        None, description="File that says which class each folder or label is: JSON, or CSV with two columns."
    )
    label_order: LabelOrder | None = Field(
        None,
        description="How folders or labels are read: `names` of classes, class `index`, or their place when "
        "`sorted`; found out if not given.",
    )

    def described_size(self) -> int | None:
        return self.image_size

    def label_choice(self) -> LabelChoice:
        """Return what is said about labels."""
        return LabelChoice(file=self.labels, order=self.label_order)


def parse_saved(field: str, text: str, num_images: int, asked: Sequence[int] = ()) -> frozenset[int]:
    """Return the images to be stored: `0-15`, `all`, `none`, or `first` for the first 16 of those asked for."""
    if text == "none":
        return frozenset()
    if text == FIRST:
        return frozenset(sorted(asked)[:NUM_FIRST])
    limit = None if text[:1].isdigit() else num_images  # a small set may lack some of the images
    return frozenset(parse_integers(field, text, limit=limit))
