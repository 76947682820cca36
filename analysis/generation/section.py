"""The section of a generation sweep: recipes compared, a gallery of all classes, a page for each class."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis import load
from analysis.generation.class_pages import write_class_pages
from analysis.generation.class_pictures import Pictures, write_pictures
from analysis.generation.judge_accuracy import judge_accuracy
from analysis.generation.section_video import generated_video
from analysis.generation.verdicts import Judge, judges_of, verdict_codes
from analysis.html.site import Section, Site
from analysis.run import Source, planned_cells

_COLUMNS = (
    "model",
    "class_index",
    "wnid",
    "class_name",
    "seed",
    "recipe",
    "image_file",
    "image_key",
    "logit",
    "probability",
    "top1",
    "top5_hit",
    "num_steps",
    "logit_by_step",
)


def section(source: Source, site: Site) -> Section:
    """The section of a generation sweep; also writes its pictures and class pages."""
    rows = load_rows(source)
    recipes, seeds = recipe_order(source, rows), sorted(int(seed) for seed in rows["seed"].unique())
    judges = judges_of(rows)
    pictures = write_pictures(source, site, rows, recipes, seeds)
    pages = write_class_pages(source, site, rows, recipes, judges, pictures)
    table = judge_accuracy(rows)
    video, filmed = generated_video(source, site, recipes)
    html = site.render(
        "generation.html",
        source=source,
        num_images=len(rows),
        num_planned=planned_cells(source.sweep),
        num_classes=rows["class_index"].nunique(),
        recipes=recipes,
        seeds=seeds,
        judges=judges,
        tiling=pictures.tiling,
        comparison=list(_comparison(table, judge_accuracy(rows, rank="top5"), recipes)),
        csv=site.table(f"{source.id}/judge-accuracy.csv", table),
        video=video,
        filmed=filmed,
        cards=list(_cards(rows, recipes, seeds, judges, pictures, pages)),
        data=_gallery_data(source, rows, recipes, seeds, judges, pictures),
    )
    title = "Recipe search" if source.kind == "tune_recipe" else "Generated images"
    return Section(id=source.id, title=f"{title}: {source.name}", html=html)


def load_rows(source: Source) -> pd.DataFrame:
    """What the section needs of the results, sorted by class, recipe and seed."""
    named = load.column_names(source.url)
    verdicts = [name for name in named if name.startswith(("judge_top1.", "judge_top5_hit."))]
    rows = load.results(source.url, [*_COLUMNS, *verdicts])
    return rows.sort_values(["class_index", "recipe", "seed"], ignore_index=True)


def recipe_order(source: Source, rows: pd.DataFrame) -> list[str]:
    """The recipes of the rows in the order in which they were asked for."""
    asked = [name for block in source.sweep.get("blocks", []) for name in block["axes"].get("recipe", [])]
    present = set(rows["recipe"].unique())
    return list(dict.fromkeys([*(name for name in asked if name in present), *sorted(present)]))


def _comparison(top1: pd.DataFrame, top5: pd.DataFrame, recipes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row per recipe and judge, the judges first."""
    both = top1.merge(top5[["judge", "is_judge", "recipe", "rate"]], on=["judge", "is_judge", "recipe"])
    both = both.rename(columns={"rate_x": "rate", "rate_y": "top5"})
    for recipe in recipes:
        yield {"recipe": recipe, "rows": both[both["recipe"] == recipe].to_dict("records")}


def _cards(
    rows: pd.DataFrame,
    recipes: Sequence[str],
    seeds: Sequence[int],
    judges: Sequence[Judge],
    pictures: Pictures,
    pages: dict[int, str],
) -> Iterator[dict[str, Any]]:
    """What the gallery shows of each class before anybody chooses: the first recipe that it has."""
    right = rows.assign(right=judges[0].verdicts(rows)) if judges else rows.assign(right=pd.NA)
    for index, part in right.groupby("class_index"):
        recipe = next(name for name in recipes if (part["recipe"] == name).any())
        shown = part[part["recipe"] == recipe]
        yield {
            "index": int(index),
            "name": str(shown["class_name"].iloc[0]),
            "wnid": str(shown["wnid"].iloc[0]),
            "page": pages[int(index)],
            "thumbnail": pictures.thumbnails.get((int(index), recipe)),
            "recipe": recipe,
            "num_right": int(shown["right"].sum()),
            "num_judged": int(shown["right"].notna().sum()),
        }


def _pictured(rows: pd.DataFrame, recipes: Sequence[str], pictures: Pictures) -> list[str]:
    """For each class a letter per recipe: whether there are thumbnails."""
    classes = sorted(map(int, rows["class_index"].unique()))
    return [
        "".join(str(int((index, recipe) in pictures.thumbnails)) for recipe in recipes) for index in classes
    ]


def _gallery_data(
    source: Source,
    rows: pd.DataFrame,
    recipes: Sequence[str],
    seeds: Sequence[int],
    judges: Sequence[Judge],
    pictures: Pictures,
) -> dict[str, Any]:
    """What the gallery's script filters by, class by class in the order of the cards."""
    return {
        "recipes": list(recipes),
        "seeds": list(seeds),
        "judges": [judge.name for judge in judges],
        "columns": pictures.tiling.num_columns,
        "width": pictures.tiling.width,
        "height": pictures.tiling.height,
        "thumbnails": f"{source.id}/thumbnails",
        "pictured": _pictured(rows, recipes, pictures),
        "codes": verdict_codes(rows, recipes, seeds, judges),
    }
