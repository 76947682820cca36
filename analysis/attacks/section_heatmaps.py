"""Heatmaps of an attack: success by class and ε, and what images are taken for instead."""

from collections.abc import Mapping

import pandas as pd

from analysis.attacks.rows import format_epsilon
from analysis.html.heatmaps import Heading, Heatmap, heatmap

# So many classes of many: those that give way least and most.
MOST_CLASSES = 40
# Beyond this many, a confusion is a list of its most frequent pairs.
MOST_CONFUSED, NUM_PAIRS = 20, 20


def class_heatmap(rows: pd.DataFrame, *, most: int | None = None) -> Heatmap:
    """Success by class and ε of one checkpoint and attack, from rows of `analysis.attacks.class_success`.

    `most`: if there are more classes, half of it those that give way least, then those that give way most.
    """
    table = rows.pivot(index="label", columns="epsilon", values="rate")
    if most is not None and len(table) > most:
        ordered = table.mean(axis=1).sort_values(kind="stable").index
        table = table.loc[[*ordered[: most // 2], *ordered[-(most // 2) :]]]
    names = rows.drop_duplicates("label").set_index("label")["label_name"]
    held = table.to_numpy(float)
    return heatmap(
        table,
        lambda row, column: f"{100 * held[row, column]:.0f}",
        corner="Class",
        columns=[Heading(text=format_epsilon(epsilon)) for epsilon in table.columns],
        rows=[Heading(text=f"{label} {names[label]}") for label in table.index],
    )


def confusion_heatmap(table: pd.DataFrame, names: Mapping[int, str]) -> Heatmap | None:
    """Labels by predictions, from rows of `analysis.attacks.confusion` at one ε; None for too many classes.

    `names` are those of classes by index, as `analysis.attacks.rows` gives them: index and name.
    """
    classes = sorted({*table["label"], *table["prediction"]})
    if not 0 < len(classes) <= MOST_CONFUSED:
        return None
    counts = table.pivot(index="label", columns="prediction", values="count").reindex(columns=classes)
    counts = counts.fillna(0).astype(int)
    held = counts.to_numpy()
    return heatmap(
        counts.div(counts.sum(axis=1), axis=0),
        lambda row, column: str(held[row, column] or ""),
        corner="Label",
        columns=[
            Heading(text=str(index), more=names.get(index, "").removeprefix(f"{index} ")) for index in classes
        ],
        rows=[Heading(text=names.get(label, str(label))) for label in counts.index],
        mark_own=True,
    )


def frequent_confusions(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs of a label and another prediction with the most images."""
    wrong = table[table["label"] != table["prediction"]]
    return wrong.sort_values(["count", "label", "prediction"], ascending=[False, True, True]).head(NUM_PAIRS)
