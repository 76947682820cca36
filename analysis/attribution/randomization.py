"""Similarity of attribution maps of re-drawn networks to those of the trained one, image by image.

The model-parameter randomisation test of Adebayo et al. 2018 (arXiv:1810.03292): a map that explains a trained
network must change when the network's weights are drawn anew. What counts as 'alike' needs a measure of chance.
Maps of a method that multiplies by the input are 0 wherever the input is, whatever the weights (Yona and Greenfeld
2021, arXiv:2110.14297), and all maps of centred objects are alike in their corners. So each map is also compared
with the map of another image, and with the re-drawn network's map in random order over its pixels that are not 0.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.attribution.attributions import STATIC, attribution_values, named_rows
from analysis.attribution.checkpoints import TRAINED
from analysis.attribution.colors import channel_sum
from analysis.attribution.image_portions import image_portions, sampled
from analysis.attribution.map_similarity import MEASURES, Maps, prepared_maps, similarity
from analysis.run import AnyRun, open_sweep

# In the place of a checkpoint: the trained network's map of another image.
OTHER_IMAGE = "another image"
# Prefix of the columns of the map in random order.
SHUFFLED = "shuffled_"

_KEYS = ["method", "checkpoint", "image_index"]
_PORTION_VALUES = 1 << 24


def similarities(
    run: AnyRun,
    *,
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how alike the map of each checkpoint is to the trained network's, of the same image and method.

    Columns: `method` (with its target where it has several), `checkpoint`, `image_index`, those of `MEASURES`, and
    the same with the prefix `shuffled_`: of the trained map with the other one in random order. Rows whose
    checkpoint is `another image` compare trained maps of two images, each image in one pair. NaN: undefined, as
    one of the maps is constant. Maps that explain another class than the trained network's are left out, and
    methods without a trained map. `sample` images are drawn by `seed`. Raises ValueError for a run without maps of
    `trained` and of another checkpoint.
    """
    run = open_sweep(run, STATIC)
    rows = named_rows(run, methods=methods, images=images)
    checkpoints = sorted(rows["checkpoint"].unique())
    if TRAINED not in checkpoints or len(checkpoints) < 2:
        raise ValueError(
            f"checkpoint of the rows is {', '.join(checkpoints)}: give a run with trained and others, such as "
            "attribute_all.py --checkpoints trained,untrained,randomized:1"
        )
    # As the run grows, a method or a target may have maps of other networks alone.
    rows = rows[rows["method"].isin(rows.loc[rows["checkpoint"] == TRAINED, "method"])]
    rows = sampled(rows, sample, seed)
    parts = []
    # Two images are compared with each other, so portions are even: results do not depend on their size.
    for portion in image_portions(run, rows, _PORTION_VALUES, multiple=2):
        portion = portion.reset_index(drop=True)
        maps = channel_sum(attribution_values(run, portion))
        for method, group in portion.groupby("method", sort=False):
            parts += [part.assign(method=method) for part in _of_method(group, maps[group.index])]
    return pd.concat(parts, ignore_index=True)[[*_KEYS, *MEASURES, *(SHUFFLED + name for name in MEASURES)]]


def _of_method(rows: pd.DataFrame, maps: np.ndarray) -> Iterator[pd.DataFrame]:
    """Yield a table for each checkpoint, and one of the pairs of images, of one method's rows and their maps."""
    rows, held = rows.reset_index(drop=True), prepared_maps(maps)
    trained = rows[rows["checkpoint"] == TRAINED].sort_values("image_index")
    pairs = len(trained) // 2 * 2
    first, second = trained.iloc[0:pairs:2], trained.iloc[1:pairs:2]
    alike = similarity(held[first.index.to_numpy()], held[second.index.to_numpy()])
    yield _table(first, alike).assign(checkpoint=OTHER_IMAGE)
    for checkpoint, others in rows[rows["checkpoint"] != TRAINED].groupby("checkpoint", sort=False):
        yield _against(trained, others, held).assign(checkpoint=checkpoint)


def _against(trained: pd.DataFrame, others: pd.DataFrame, held: Maps) -> pd.DataFrame:
    pairs = trained.reset_index().merge(others.reset_index(), on="image_index", suffixes=("", "_other"))
    if "explained_class" in pairs:
        one, other = pairs["explained_class"], pairs["explained_class_other"]
        pairs = pairs[(one == other) | one.isna() | other.isna()]
    one, other = held[pairs["index"].to_numpy()], held[pairs["index_other"].to_numpy()]
    by_chance = similarity(one, other.shuffled(pairs["image_index"].to_numpy()))
    return _table(pairs, similarity(one, other) | {SHUFFLED + name: each for name, each in by_chance.items()})


def _table(rows: pd.DataFrame, alike: dict[str, np.ndarray]) -> pd.DataFrame:
    shuffled = {SHUFFLED + name: np.nan for name in MEASURES}
    columns = shuffled | alike
    return pd.DataFrame({"image_index": rows["image_index"].to_numpy(), **columns})
