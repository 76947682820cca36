"""Files of a model, in a folder or on the Hugging Face hub, whose client would retry for most of a minute."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from attrib_core.classifiers.registry import Files, local_folder
from attrib_core.errors import first_line
from attrib_core.references import Reference

TIMEOUT = 10  # seconds
NO_SETTINGS = "accepted are none: what it is stands in its configuration"


def check_reachable(repository: str, files: Sequence[str]) -> None:
    """Send one request to the hub if none of the files is cached; OSError if it does not answer."""
    if any(_cached(repository, file) for file in files):
        return
    request = urllib.request.Request(huggingface_hub.hf_hub_url(repository, "config.json"), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        error.close()  # the hub answers, perhaps only to ask for a token, which its client sends


def source_of(reference: Reference) -> str:
    """Return the folder or the hub's name in `transformers:SOURCE`; ValueError if there is not exactly one."""
    if len(reference.rest) != 1:
        raise ValueError(
            f"model={str(reference)!r}: accepted is {reference.name}:org/name or {reference.name}:FOLDER"
        )
    if reference.settings:
        name, value = reference.settings[0]
        raise ValueError(f"model={str(reference)!r}: {name}={value} is no setting of it; {NO_SETTINGS}")
    return reference.rest[0]


def read_files(where: str, source: str, required: str, optional: Sequence[str] = ()) -> Files:
    """Return the contents of a model's files by name. Raises ValueError without the required one."""
    found = {name: find_file(where, source, [name]) for name in (required, *optional)}
    if found[required] is None:
        kind = "folder" if local_folder(source) else "model of the hub"
        raise ValueError(f"{where}: no {required} in it; accepted is a {kind} that has one")
    return {name: path.read_bytes() for name, path in found.items() if path is not None}


def find_file(where: str, source: str, names: Sequence[str]) -> Path | None:
    """Return the path of the first file of these names that a folder or a model of the hub has.

    Raises ValueError, which begins with `where`, for a folder that is not there and a hub that does not answer.
    """
    folder = local_folder(source)
    if folder is not None:
        return next((folder / name for name in names if (folder / name).is_file()), None)
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise ValueError(
            f"{where}: no such folder; accepted are a folder, and org/name of a model on the hub"
        )
    try:
        check_reachable(source, names)
        return next(filter(None, (_fetched(source, name) for name in names)), None)
    except (OSError, ValueError) as error:  # the client's errors are of both kinds
        raise ValueError(
            f"{where}: neither a folder nor could it be fetched from the Hugging Face hub ({first_line(error)}); "
            "download it elsewhere and give its folder"
        ) from error


def _fetched(repository: str, name: str) -> Path | None:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None


def _cached(repository: str, file: str) -> bool:
    return isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str)
