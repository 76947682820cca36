"""The versions of the installed packages that results depend on."""

from importlib import metadata

PACKAGES = ("attrib-sweeps", "torch", "torchvision", "timm", "ray", "pyarrow", "pandas", "obstore", "numpy")


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of those of `PACKAGES` that are installed."""
    return {name: version for name in PACKAGES if (version := version_of(name)) is not None}
