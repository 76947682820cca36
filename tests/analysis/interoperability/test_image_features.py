"""The schemas of images/ say to Hugging Face `datasets` that the image column holds images."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from sweeps.schemas import attack_images, attribute_images, generate_images, modify_images, training_images


@pytest.mark.parametrize(
    "schema",
    [attack_images, attribute_images, lambda: generate_images(10), modify_images, training_images],
    ids=["attack", "attribute", "generate", "modify", "attribute_training"],
)
def test_the_image_column_is_an_image(schema: Callable[[], pa.Schema]) -> None:
    from datasets import Features, Image

    # What `load_dataset("parquet")` does; it passes over what is told of a column of another type or nullability.
    assert Features.from_arrow_schema(schema())["image"] == Image()
