"""What classes, ε and the subject of a table are called, the same in every table, figure and report."""

import pandas as pd

from analysis.run import AnyRun, opened


def class_names(frame: pd.DataFrame) -> dict[int, str]:
    """Return index and name of each class that a label has, by index."""
    labels = frame[["label", "label_name"]].drop_duplicates("label").sort_values("label")
    return {
        int(label): f"{label} {name}"
        for label, name in zip(labels["label"], labels["label_name"], strict=True)
    }


def recorded_class_names(run: AnyRun) -> dict[int, str]:
    """Return index and name of every class of the model, by index, as the run recorded them; may be empty."""
    return {index: f"{index} {name}" for index, name in enumerate(opened(run).class_names)}


def describe(frame: pd.DataFrame) -> str:
    """Return the model and the test set of the rows, with the number of images."""
    texts = [", ".join(map(str, sorted(frame[name].unique()))) for name in ("model", "dataset", "split")]
    num_images = frame[["dataset", "split", "image_index"]].drop_duplicates().shape[0]
    return f"{texts[0]} on {texts[1]} {texts[2]}, {num_images:,} images"


def format_epsilon(epsilon: float) -> str:
    """Return 0.01 where two digits say it all, else steps of 8-bit images where they are quarters (2/255)."""
    steps = epsilon * 255
    if float(f"{epsilon:.2g}") != epsilon and abs(steps * 4 - round(steps * 4)) < 1e-6:
        return f"{steps:g}/255"
    return f"{epsilon:.4g}"
