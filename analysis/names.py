"""Names that titles and captions use: of the classes of a run, and of the model and test set of its rows."""

import pandas as pd

from analysis import load


def class_names(run: str, rows: pd.DataFrame) -> dict[int, str]:
    """Return index and name of each class, such as `3 dress`: of the labels of the rows and of the run's record.

    A class that is predicted may be the label of no image, and the rows may be of another data set than the
    run's last invocation recorded: where both know a class, the record wins.
    """
    labels = rows[["label", "label_name"]].drop_duplicates("label").sort_values("label")
    of_labels = dict(zip(labels["label"].astype(int), labels["label_name"], strict=True))
    invocations = load.sweep(run).get("invocations", [])
    recorded = invocations[-1].get("class_names", []) if invocations else []
    return {index: f"{index} {name}" for index, name in (of_labels | dict(enumerate(recorded))).items()}


def describe(rows: pd.DataFrame) -> str:
    """Return the model and the test set that the rows are of, with the number of images."""
    texts = [", ".join(map(str, sorted(rows[name].unique()))) for name in ("model", "dataset", "split")]
    num_images = rows[["dataset", "split", "image_index"]].drop_duplicates().shape[0]
    return f"{texts[0]} on {texts[1]} {texts[2]}, {num_images:,} images"
