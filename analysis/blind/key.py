"""The key of a blind naming: a CSV with what each numbered picture shows, and from which run it comes."""

from pathlib import Path

import pandas as pd

KEY_COLUMNS = (
    "number", "class_index", "wnid", "class_name", "model", "recipe", "seed", "run", "image_key",
)  # fmt: skip


def default_key(folder: Path) -> Path:
    """Return where the key of the sheets in `folder` goes: beside it, so that the folder can be given away."""
    return folder.with_name(f"{folder.resolve().name}-key.csv")


def write_key(pictures: pd.DataFrame, path: Path) -> None:
    """Write the key; `pictures` has `KEY_COLUMNS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[list(KEY_COLUMNS)].to_csv(path, index=False)


def read_key(path: Path) -> pd.DataFrame:
    """Return the pictures of a key by number. Raise ValueError for a file that is no key."""
    # Every cell is text at first: pandas would turn a class called `nan` into a missing value.
    try:
        key = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(
            f"key {str(path)!r} cannot be read as CSV: {' '.join(str(error).split())}"
        ) from error
    missing = [column for column in KEY_COLUMNS if column not in key]
    if missing:
        raise ValueError(
            f"key {str(path)!r} has no column {missing[0]!r}: give the file that was written with the sheets"
        )
    for column in ("number", "class_index", "seed"):
        wrong = key[~key[column].str.fullmatch(r"-?\d+")]
        if len(wrong):
            raise ValueError(
                f"key {str(path)!r}: {column} is {wrong[column].iloc[0]!r}; accepted: whole numbers"
            )
        key[column] = key[column].astype("int64")
    if len(key) == 0 or key["number"].duplicated().any():
        raise ValueError(f"key {str(path)!r} has no picture, or a number twice: make the sheets again")
    return key.sort_values("number", ignore_index=True)
