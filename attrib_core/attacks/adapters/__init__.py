"""Attacks of other libraries and of users, one module each, imported when one of its attacks is named.

A module here has `find(field, reference)`, which returns the method that a reference names. ValueError says
what is wrong with the reference before anything runs.
"""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from attrib_core.attacks.batch import Method
from attrib_core.references import Reference, unknown

FAMILIES = {
    "foolbox": "attrib_core.attacks.adapters.foolbox_attacks",
    "torchattacks": "attrib_core.attacks.adapters.torchattacks_attacks",
    "advlib": "attrib_core.attacks.adapters.advlib_attacks",
}
_FUNCTIONS = "attrib_core.attacks.adapters.functions"
# How the libraries call what an attack repeats.
_COUNTS = frozenset(
    (
        *("steps", "df_steps", "num_steps", "binary_search_steps", "max_iter", "max_iterations"),
        *("iter", "n_iter", "eot_iter", "nb_iter", "num_iter_set", "search_iter", "restarts", "n_restarts"),
        *("n_queries", "n_samples", "nb_sample", "max_batch_size", "repeats", "population"),
    )
)


def find_attack(field: str, reference: Reference) -> Method:
    """Return the method that a reference to another library, or to a user's function, names."""
    adapter = importlib.import_module(FAMILIES.get(reference.name, _FUNCTIONS))
    found: Method = adapter.find(field, reference)
    return found


def import_library(field: str, reference: Reference, module: str, install: str) -> ModuleType:
    """Import a library that is no requirement of ours. ValueError says how to install a missing one."""
    if find_spec(module.partition(".")[0]) is None:
        raise ValueError(
            f"{field}={str(reference)!r}: {reference.name} is not installed; accepted after `{install}`"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about functions that NumPy, SciPy and Python will remove
        return importlib.import_module(module)


def choose(field: str, reference: Reference, known: dict[str, Any]) -> Any:
    """Return what the library has under the reference's one name. ValueError with near matches if it has none."""
    where = f"{field}={str(reference)!r}"
    if len(reference.rest) != 1:
        raise ValueError(f"{where}: accepted is {reference.name}:NAME, with the NAME of one of its attacks")
    name = reference.rest[0]
    if name not in known:
        raise ValueError(f"{where}: {unknown(f'attack of {reference.name}', name, known)}")
    return known[name]


def check_settings(
    field: str,
    reference: Reference,
    settings: Mapping[str, Any],
    accepted: Mapping[str, Sequence[Any]],
    *,
    least: int = 1,
) -> None:
    """Raise ValueError for fewer steps than `least`, and for a value that is none of those accepted.

    The libraries check few of their settings before they run: with no step at all, images stay as they are.
    """
    written = dict(reference.settings)
    for key, value in settings.items():
        where = f"{field}={str(reference)!r}: {key}={written[key]}"
        if value is None:
            continue
        if key in _COUNTS and not (isinstance(value, int) and value >= least):
            raise ValueError(f"{where}: accepted are whole numbers from {least}")
        if key in accepted and value not in accepted[key]:
            raise ValueError(f"{where}: accepted are {', '.join(map(str, accepted[key]))}")


def library_version(package: str) -> str:
    """Return name and version of an installed package."""
    return f"{package} {version(package)}"
