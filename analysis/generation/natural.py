"""Natural images of a class beside the generated ones: those of a data set whose logit of the class is largest."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.html.site import Site
from analysis.html.stored_pictures import StoredPicture, store_picture
from analysis.run import Run
from analysis.units.natural import load_natural
from analysis.units.shelves import three_digits


@dataclass(frozen=True, kw_only=True)
class NaturalPicture:
    """A natural image of a class page; `right` says whether it is labelled as the class."""

    stored: StoredPicture
    logit: str
    label: str
    right: bool


def natural_pictures(run: Run | None, site: Site, folder: str) -> Mapping[int, list[NaturalPicture]]:
    """Write the natural images of a run and return them by class index, the strongest first."""
    if run is None:
        return {}
    rows = load_natural(run)
    stored = rows[rows["image_key"].notna()].drop_duplicates("image_key")
    pixels = run.images(stored["image_key"], stored)
    files = {
        key: store_picture(site, f"{folder}/natural/{number:04d}", image)
        for number, (key, image) in enumerate(zip(stored["image_key"], pixels, strict=True))
    }
    pictures: dict[int, list[NaturalPicture]] = {}
    for row in rows[rows["image_key"].notna()].to_dict("records"):
        picture = NaturalPicture(
            stored=files[row["image_key"]],
            logit=three_digits(row["activation"]),
            label=row["label_name"],
            right=row["label"] == row["class_index"],
        )
        pictures.setdefault(int(row["class_index"]), []).append(picture)
    return pictures
