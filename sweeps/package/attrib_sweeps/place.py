"""Where the code lies: at the top of a checkout, or inside this package once a wheel is installed."""

from pathlib import Path


def full_name(module: str) -> str:
    """Return the name by which a module of the four folders is imported here, from its name in a checkout."""
    in_wheel = (Path(__file__).parent / "attrib_core").is_dir()
    return f"attrib_sweeps.{module}" if in_wheel else module
