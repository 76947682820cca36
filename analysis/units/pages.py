"""The pages of a report that show units: by layer, some units a page, each with all of its pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.html.site import Site
from analysis.html.stored_pictures import StoredPicture, store_picture
from analysis.units.gallery import shelf_notes, shelf_title
from analysis.units.shelves import (
    Collection,
    ImageName,
    Pixels,
    Shelf,
    UnitPicture,
    UnitRow,
    shelf_images,
    shelves,
)

NUM_UNITS = 24

Images = Mapping[ImageName, Pixels]


@dataclass(frozen=True, kw_only=True)
class ShownPicture:
    """A picture of a page: its file, and what stands beneath it; `view` is the width and height of its pixels."""

    stored: StoredPicture
    view: tuple[int, int]
    picture: UnitPicture
    alt: str


@dataclass(frozen=True, kw_only=True)
class ShownUnit:
    """A unit of a page, and a picture, or None, for each column."""

    name: str
    pictures: Sequence[ShownPicture | None]

    @property
    def first(self) -> ShownPicture | None:
        """The picture that stands for the unit where there is room for one."""
        return next((each for each in self.pictures if each is not None), None)


@dataclass(frozen=True, kw_only=True)
class ShelfPage:
    """A page of the report, and what it shows."""

    path: str
    shelf: Shelf
    units: Sequence[ShownUnit]


@dataclass
class _Album:
    """Pictures written to a report, each stored image once: a natural one may be strong for many units."""

    site: Site
    folder: str
    _stored: dict[ImageName, StoredPicture] = field(default_factory=dict)

    def unit(self, row: UnitRow, columns: Sequence[str], images: Images) -> ShownUnit:
        shown = [
            None if each is None else self._picture(each, images, f"{row.name}, {column}")
            for each, column in zip(row.pictures, columns, strict=True)
        ]
        return ShownUnit(name=row.name, pictures=shown)

    def _picture(self, picture: UnitPicture, images: Images, alt: str) -> ShownPicture | None:
        if picture.image is None:
            return None
        pixels = images[picture.image]
        if picture.image not in self._stored:
            stem = f"{self.folder}/{len(self._stored):05d}"
            self._stored[picture.image] = store_picture(self.site, stem, pixels)
        label = f": {picture.label}" if picture.label else ""
        return ShownPicture(
            stored=self._stored[picture.image],
            view=(pixels.shape[1], pixels.shape[0]),
            picture=picture,
            alt=f"{alt}{label}",
        )


def write_pages(collection: Collection, site: Site) -> list[ShelfPage]:
    """Write a page for each shelf and return them in their order; only the images of one page are in memory."""
    run, all_shelves = collection.run, list(shelves(collection, NUM_UNITS))
    album = _Album(site, f"{run.id}/units")
    names = [page_name(shelf) for shelf in all_shelves]
    pages = []
    for number, shelf in enumerate(all_shelves):
        images = shelf_images(collection, shelf)
        units = [album.unit(row, shelf.columns, images) for row in shelf.rows]
        path = site.page(
            f"{run.id}/units-{number:03d}.html",
            "units_page.html",
            run=run,
            title=shelf_title(shelf, collection.model),
            shelf=shelf,
            notes=shelf_notes(shelf),
            units=units,
            previous=_neighbour(names, number - 1),
            next=_neighbour(names, number + 1),
        )
        pages.append(ShelfPage(path=path, shelf=shelf, units=units))
    return pages


def page_name(shelf: Shelf) -> str:
    """Return the layer, the units and the recipe of a page, as links to it say."""
    return ", ".join(filter(None, [shelf.layer, span(shelf), shelf.recipe]))


def span(shelf: Shelf) -> str:
    """Return the first unit of a page and its last, and the seeds where they are shared out among pages."""
    first, last = (shelf.rows[place].name.removeprefix(f"{shelf.layer}:") for place in (0, -1))
    units = first if first == last else f"{first} to {last}"
    return units + (f" from {shelf.columns[0]}" if shelf.is_part else "")


def _neighbour(names: Sequence[str], number: int) -> dict[str, str] | None:
    if not 0 <= number < len(names):
        return None
    return {"name": names[number], "page": f"units-{number:03d}.html"}
