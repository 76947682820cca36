"""Installed packages: those that every sweep needs, and those of the extras."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from sweeps.doctor.findings import Finding
from sweeps.versions import version_of, versions

PROJECT = "attrib-sweeps"
# What each extra is for. Extras for those who change this project's own code are not a feature of it.
FEATURES = {
    "captum": "attributions captum:NAME",
    "cluster": "`ray up`, `ray submit` and the dashboard",
    "foolbox": "attacks foolbox:NAME",
    "hf": "data sets hf:NAME",
    "mlflow": "--notify mlflow",
    "notebooks": "the notebooks, in an editor or in Jupyter",
    "tensorboard": "--notify tensorboard",
    "torchattacks": "attacks torchattacks:NAME",
    "transformers": "models transformers:NAME",
    "viewer": "report --serve",
    "wandb": "--notify wandb",
}
FOR_DEVELOPERS = {"bench", "dev", "docs", "s3"}


def software() -> Iterator[Finding]:
    """Yield the versions, what is missing or too old, and what each extra would add."""
    yield Finding("ok", "versions", ", ".join(f"{name} {version}" for name, version in versions().items()))
    try:
        requirements = [Requirement(text) for text in metadata.requires(PROJECT) or ()]
    except metadata.PackageNotFoundError:
        yield Finding("note", "packages", f"{PROJECT} is not installed: what it needs is not known here")
        return
    yield _needed([each for each in requirements if each.marker is None])
    for extra, feature in FEATURES.items():
        yield _extra(extra, feature, [each for each in requirements if _is_of(each, extra)])


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})


def _needed(requirements: list[Requirement]) -> Finding:
    if lacking := _lacking(requirements):
        return Finding("wrong", "packages", f"{', '.join(lacking)}; run `pip install --upgrade {PROJECT}`")
    return Finding("ok", "packages", f"all {len(requirements)} that are needed")


def _extra(extra: str, feature: str, requirements: list[Requirement]) -> Finding:
    if lacking := _lacking(requirements):
        how = f"pip install '{PROJECT}[{extra}]'"
        return Finding("note", f"[{extra}]", f"{feature}: {', '.join(lacking)}; {how}")
    return Finding("ok", f"[{extra}]", feature)


def _lacking(requirements: list[Requirement]) -> list[str]:
    """Return in words which requirements are missing or have another version."""
    found = [(each, version_of(each.name)) for each in requirements]
    return [
        f"{each.name} is not installed"
        if version is None
        else f"{each.name} {version} is not {each.specifier}"
        for each, version in found
        if version is None or not each.specifier.contains(version, prereleases=True)
    ]
