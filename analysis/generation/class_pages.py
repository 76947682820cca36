"""A page for each generated class: its images by recipe and seed, the verdicts, and the logit by step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.generation.class_pictures import Pictures
from analysis.generation.verdicts import Judge
from analysis.html.site import Site
from analysis.html.step_curves import Chart, chart
from analysis.run import Source


def write_class_pages(
    source: Source,
    site: Site,
    rows: pd.DataFrame,
    recipes: Sequence[str],
    judges: Sequence[Judge],
    pictures: Pictures,
) -> dict[int, str]:
    """Writes a page per class and returns their paths by class index."""
    judged = _judged(rows, judges)
    first = rows.drop_duplicates("class_index")
    names = {
        int(index): str(name) for index, name in zip(first["class_index"], first["class_name"], strict=True)
    }
    paths = {index: f"{source.id}/class-{index:04d}.html" for index in names}
    order = list(names)
    for position, (index, part) in enumerate(judged.groupby("class_index", sort=False)):
        site.page(
            paths[index],
            "class.html",
            source=source,
            index=index,
            name=names[index],
            wnid=str(part["wnid"].iloc[0]),
            judges=judges,
            recipes=[
                _recipe(recipe, part[part["recipe"] == recipe], judges, names, pictures)
                for recipe in recipes
                if (part["recipe"] == recipe).any()
            ],
            previous=_neighbour(order, position - 1, names, paths),
            next=_neighbour(order, position + 1, names, paths),
        )
    return paths


def _judged(rows: pd.DataFrame, judges: Sequence[Judge]) -> pd.DataFrame:
    """The rows with `right_N` and `answer_N` of the Nth judge."""
    columns = {}
    for number, judge in enumerate(judges):
        columns[f"right_{number}"] = judge.verdicts(rows)
        columns[f"answer_{number}"] = judge.answers(rows).astype("Int64")
    return rows.assign(**columns)


def _neighbour(
    order: Sequence[int], position: int, names: Mapping[int, str], paths: Mapping[int, str]
) -> dict[str, str] | None:
    if not 0 <= position < len(order):
        return None
    index = order[position]
    return {"name": names[index], "page": paths[index].rpartition("/")[2]}


def _recipe(
    recipe: str, rows: pd.DataFrame, judges: Sequence[Judge], names: Mapping[int, str], pictures: Pictures
) -> dict[str, Any]:
    """What the page shows of a recipe."""
    records = rows.to_dict("records")
    return {
        "name": recipe,
        "num_steps": records[0]["num_steps"],
        "images": [_image(record, judges, names, pictures) for record in records],
        "chart": _logit_chart(records),
    }


def _image(
    record: Mapping[Any, Any], judges: Sequence[Judge], names: Mapping[int, str], pictures: Pictures
) -> dict[str, Any]:
    path = pictures.full.get((record["class_index"], record["recipe"], record["seed"]))
    return {
        "seed": record["seed"],
        "logit": record["logit"],
        "probability": record["probability"],
        "path": path,
        "size": pictures.sizes.get(path or ""),
        "verdicts": [
            {"judge": judge, **_verdict(record[f"right_{number}"], record[f"answer_{number}"], names)}
            for number, judge in enumerate(judges)
        ],
    }


def _verdict(right: Any, answer: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """`right`: whether the image is taken for its class, None without a verdict; `answer`: what for, in words."""
    if pd.isna(right):
        return {"right": None, "answer": "no verdict"}
    named = f"class {answer}"
    return {"right": bool(right), "answer": f"{names[answer]} ({named})" if answer in names else named}


def _logit_chart(records: Sequence[Mapping[Any, Any]]) -> Chart:
    series = {f"seed {record['seed']}": record["logit_by_step"] for record in records}
    values = np.concatenate([np.asarray(curve, float) for curve in series.values()])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return chart(series, low=min(low, 0.0), high=high)
