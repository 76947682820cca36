"""The page of one image: which rows are of it, and what is stored of each: images side by side, and its map."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from analysis.html.formatting import share
from analysis.html.pictures import Picture, Triptych
from analysis.serve.formatting import shown
from analysis.serve.pictures import Pictures, size_of
from analysis.serve.rows import FILE, ROW, RunRows

# Rows of a page whose pictures are shown.
MOST_PICTURED = 24

Row = Mapping[str, Any]

# The images that a row may name, with the columns of what they are taken for and with what confidence.
_SHOWN = {
    "clean": (
        "clean",
        ("clean_prediction", "initial_prediction"),
        ("clean_confidence", "initial_confidence"),
    ),
    "perturbation": ("perturbation", (), ()),
    "image": (
        "image",
        ("adversarial_prediction", "prediction", "top1"),
        ("adversarial_confidence", "confidence", "probability"),
    ),
}
_OF_IMAGE = {"attack": "adversarial image", "modify": "modified image", "generate": "generated image"}
_TITLES = ("method", "recipe", "checkpoint", "trial", "step", "target", "target_name", "epsilon", "seed")


def key_column(rows: RunRows) -> str | None:
    """Return the column that names an image of the data set, or a generated one; None if the rows have none."""
    return next((name for name in ("key", "image_key") if name in rows.columns), None)


def image_path(rows: RunRows, key: str) -> str:
    """Return the path of an image's own page. It holds the key, so it stays right while a run grows."""
    return f"/run/{rows.run.index}/image/{quote(key, safe='')}"


def pictured(rows: RunRows, pictures: Pictures, found: Sequence[Row]) -> list[Triptych]:
    """Return the stored images and maps of rows, of the first of them that have any."""
    maps = "attribution_scale" in rows.columns
    with_pictures = [row for row in found if maps or any(_named(row, name) for name in _SHOWN)][
        :MOST_PICTURED
    ]
    stored = pictures.stored(
        [name for row in with_pictures for each in _SHOWN if (name := _named(row, each))]
    )
    drawn = pictures.maps([(row[FILE], row[ROW]) for row in with_pictures]) if maps else {}
    titles = [name for name in _TITLES if name in rows.columns and not rows.columns[name].is_constant]
    triptychs = []
    for row in with_pictures:
        panels = [_panel(rows, row, each, stored) for each in _SHOWN if _named(row, each)]
        if maps:
            panels.append(_map(rows, row, drawn))
        words = ", ".join(_title(rows, row, name) for name in titles)
        triptychs.append(Triptych(title=words or str(row[key_column(rows) or FILE]), pictures=panels))
    return triptychs


def _named(row: Row, image: str) -> tuple[str, str] | None:
    file, key = row.get(f"{image}_file"), row.get(f"{image}_key")
    return (file, key) if file and key else None


def _panel(rows: RunRows, row: Row, image: str, stored: Mapping[tuple[str, str], bytes]) -> Picture:
    name, predictions, confidences = _SHOWN[image]
    named = _named(row, image)
    assert named is not None
    width, height = size_of(stored[named])
    words = _OF_IMAGE.get(rows.run.kind, name) if image == "image" else name
    prediction = next((each for each in predictions if row.get(each) is not None), None)
    confidence = next((each for each in confidences if row.get(each) is not None), None)
    caption = "" if prediction is None else shown(prediction, row[prediction], rows.run.class_names)
    if caption and confidence is not None:
        caption += f", {share(row[confidence])}".replace(" %", "\N{NO-BREAK SPACE}%")
    own = row.get("label", row.get("class_index"))
    file, key = (quote(each, safe="") for each in named)
    return Picture(
        path=f"/run/{rows.run.index}/stored/{file}/{key}",
        width=width,
        height=height,
        name=words,
        alt=f"{words}: {caption}" if caption else words,
        caption=caption,
        right=None if prediction is None or own is None else row[prediction] == own,
    )


def _map(rows: RunRows, row: Row, drawn: Mapping[tuple[str, int], bytes]) -> Picture:
    width, height = size_of(drawn[row[FILE], row[ROW]])
    return Picture(
        path=f"/run/{rows.run.index}/map/{quote(row[FILE], safe='')}/{row[ROW]}",
        width=width,
        height=height,
        name="attribution",
        alt=f"attribution by {row['method']}",
        caption="red: positive, blue: negative",
    )


def _title(rows: RunRows, row: Row, name: str) -> str:
    value = shown(name, row[name], rows.run.class_names)
    if name == "epsilon":
        return f"ε = {value}"
    return value if name in ("method", "recipe", "checkpoint") else f"{name} {value}"
