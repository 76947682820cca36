"""On a GPU a shard is made of full batches; a directory's own shards stay as they are on any device."""

import pytest

from sweeps.plan import Plan
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.shard_sizes import shard_size_on_gpu


@pytest.mark.parametrize(
    ("image_size", "batch_size", "num_batches", "expected"),
    [
        (28, None, 1, 1024),  # the largest batch there is
        (224, None, 1, 164),
        (224, None, 4, 656),
        (224, 30, 2, 64),  # the user's batch, as the multiple of four that passes have
    ],
)
def test_a_shard_is_whole_batches(
    image_size: int, batch_size: int | None, num_batches: int, expected: int
) -> None:
    assert shard_size_on_gpu(image_size, batch_size, num_batches) == expected


def test_a_run_that_goes_on_on_a_gpu_keeps_the_shards_it_has() -> None:
    asked = {"target": (3,), "image_index": tuple(range(100))}
    more = {"target": (3,), "image_index": tuple(range(1500))}
    begun = Plan(fingerprint="x", kinds=AXIS_KINDS["modify"]).grow(asked, shard_size=16)
    assert begun.grow(asked, shard_size=1024) == begun
    ids = [shard.id for shard in begun.shards()]
    grown = begun.grow(more, shard_size=1024)
    assert [shard.id for shard in grown.shards()][: len(ids)] == ids
    assert [len(shard.cells) for shard in grown.shards()][len(ids) :] == [1024, 376]
