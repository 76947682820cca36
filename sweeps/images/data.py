"""The data set of a sweep over images as its run directory knows it: digests by image, and images that failed.

A run directory belongs to one data set. An image that rows were computed from must stay as it was. One without
rows, because it could not be used, may be repaired: the same command then computes it alone.
"""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attrib_core.datasets import Dataset, load_dataset
from sweeps.images.failures import sha256_of, unreadable_images
from sweeps.images.options import ImageOptions
from sweeps.plan import Plan
from sweeps.record import plan_of
from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.store import ImageFailure, RunDirectory
from sweeps.store.image_digests import ImageDigests, digest_of_rest
from sweeps.store.terminal_text import terminal_text

EXIF_ORIENTATION = "exif_orientation"


def load_images(options: ImageOptions) -> Dataset:
    """Return the data set that the options name, in which some images may be unreadable."""
    return load_dataset(
        options.dataset,
        split=options.split,
        root=options.data_root,
        image_column=options.image_column,
        label_column=options.label_column,
        boxes_column=options.boxes_column,
        boxes_format=options.boxes_format,
        refuse_unreadable=False,
        log=print_line,
    )


@dataclass(frozen=True)
class SweepData:
    """A data set, and what a run directory has to do with it."""

    dataset: Dataset

    def settings(self, run: RunDirectory, sweep: str, kinds: AxisKinds) -> dict[str, Any]:
        """Return the settings of a sweep that say which data it is over; in the directory's words if it has some.

        Raises ValueError naming an image that has changed since rows were computed from it.
        """
        dataset = self.dataset
        named = {"dataset": dataset.name, "split": dataset.split}
        own = {"data_digest": dataset.digest}
        if dataset.num_turned:  # directories of earlier versions hold rows of images that were not turned
            own[EXIF_ORIENTATION] = "applied"
        record, before = run.read_sweep() or {}, run.read_image_digests()
        if before is None or record.get("sweep") != sweep:
            return named | own
        changed = before.changed(self.digests)
        if changed is None:
            if named.items() <= record["settings"].items():
                raise ValueError(self._other_images(run, before))
            return named | own
        if with_rows := _with_rows(run, plan_of(record, kinds), changed):
            raise ValueError(
                f"dataset={dataset.name!r}: image {dataset.keys[with_rows[0]]!r} has changed since rows in "
                f"{run.url} were computed from it{_and_more(len(with_rows) - 1)}; restore it, or choose another "
                "--output"
            )
        recorded = record["settings"]
        return named | {
            name: recorded[name] for name in ("data_digest", EXIF_ORIENTATION) if name in recorded
        }

    def _other_images(self, run: RunDirectory, before: ImageDigests) -> str:
        """Return what is said of a data set that has lost or gained images, or has other labels."""
        gone, new = before.gone(self.digests), self.digests.gone(before)
        what = " and ".join(
            f"{verb} {_first_few(names)}" for verb, names in (("lost", gone), ("gained", new)) if names
        )
        put_back = (
            "put what is missing back (an image without rows may be any file of that name, also a damaged one), "
            if gone
            else "remove them, "
            if new
            else ""
        )
        return (
            f"dataset={self.dataset.name!r}: since {run.url} was made it has {what or 'other labels'}, so "
            f"numbers of images or classes mean others; {put_back}or choose another --output"
        )

    @property
    def definitions(self) -> dict[str, str]:
        """Which code made the data set, for sweep.json, if a user's did: a directory refuses changed code."""
        return definitions_of(self.dataset)

    def record(self, run: RunDirectory) -> None:
        """Write the digests of all images into the run directory, unless they are there."""
        before = run.read_image_digests()
        if before is None or before.changed(self.digests) != []:
            run.write_image_digests(self.digests)

    def repaired(self, failures: Collection[ImageFailure]) -> set[int]:
        """Return the images whose bytes are others now, or that could not be decoded then and can be now."""
        changed = {
            each.image_index for each in failures if each.sha256 != sha256_of(self.dataset, each.image_index)
        }
        doubtful = {each.image_index for each in failures if not each.readable} - changed
        return changed | (doubtful - unreadable_images(self.dataset, doubtful))

    @cached_property
    def digests(self) -> ImageDigests:
        """The digests of the images as they are now."""
        dataset = self.dataset
        rest = digest_of_rest(dataset.class_names, dataset.keys, dataset.labels.tolist())
        return ImageDigests(dataset.image_digests, rest, dataset.keys)


def definitions_of(*datasets: Dataset) -> dict[str, str]:
    """Return which code made data sets, by their references; none for those that no user's code made."""
    return {f"dataset {each.name}": each.definition for each in datasets if each.definition is not None}


def print_line(line: str) -> None:
    """Tell the user what happens before work starts."""
    print(terminal_text(line), file=sys.stderr, flush=True)


def _with_rows(run: RunDirectory, plan: Plan, images: Collection[int]) -> list[int]:
    """Return those of the images that a committed shard has rows of."""
    found: set[int] = set()
    if not images:
        return []
    committed, failed, asked = set(run.committed()), run.failed_images(), frozenset(images)
    for planned in plan.shards():
        shard = planned
        while shard.id in committed:
            failures = {failure.image_index for failure in failed.get(shard.id, ())}
            found |= (asked & plan.image_indices(shard)) - failures
            if not failures:
                break
            shard = plan.shard_after(shard, failures)
    return sorted(found)


def _first_few(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"image {', '.join(names[:count])}{more}"


def _and_more(count: int) -> str:
    return f", and {count} more" if count else ""
