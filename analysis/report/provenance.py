"""Where a run's results come from: configuration, growth, versions, digests, failures, commands."""

import shlex
from typing import Any

from analysis.html.site import Section, Site
from analysis.progress import num_values
from analysis.run import Run

# Keys of an invocation with a place of their own; all others are listed as they are.
_INVOCATION_KEYS = ("started", "command", "python", "platform", "versions", "git_commit")

# A list of a thousand class names is no configuration that anybody reads.
_LONGEST = 300


def section(run: Run, site: Site) -> Section:
    """Return the section of a run's provenance."""
    html = site.render(
        "provenance.html",
        run=run,
        settings=_settings(run.sweep.get("settings", {})),
        definitions=run.sweep.get("definitions", {}),
        blocks=[_block(block) for block in run.sweep.get("blocks", [])],
        invocations=[_invocation(entry) for entry in run.sweep.get("invocations", [])],
        devices=[_device(device) for device in run.sweep.get("devices", [])],
        fingerprint=run.sweep.get("fingerprint"),
    )
    return Section(id=f"{run.id}-provenance", title=run.name, html=html)


def command_line(command: list[str]) -> str:
    """Return a command as a shell takes it."""
    program = ["python", *command] if command and command[0].endswith(".py") else command
    return shlex.join(program)


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, those of a nested mapping, such as the judges' digests, as rows of their own."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}: {key}": nested for key, nested in value.items()}
        else:
            flat[name] = value
    return flat


def _block(block: dict[str, Any]) -> dict[str, Any]:
    """Return an addition to the run: each axis with its values in short and how many there are."""
    axes = {
        axis: {"values": _shortened(_listed(values)), "count": num_values(values)}
        for axis, values in block["axes"].items()
    }
    return {"axes": axes, "shard_size": block["shard_size"]}


def _invocation(entry: dict[str, Any]) -> dict[str, Any]:
    others = {key: value for key, value in entry.items() if key not in _INVOCATION_KEYS}
    return {
        "started": entry.get("started"),
        "command": command_line([str(part) for part in entry.get("command", [])]),
        "python": entry.get("python"),
        "platform": entry.get("platform"),
        "versions": entry.get("versions", {}),
        "git_commit": entry.get("git_commit"),
        "others": {key: _shortened(_listed(value)) for key, value in others.items()},
    }


def _device(device: dict[str, Any]) -> str:
    """Return `cuda NVIDIA H100 (float32; driver 580.1)`: what decides the last bits of rows, on a line."""
    kind, name, precision = (device.get(key) for key in ("device", "name", "precision"))
    others = [f"{key} {value}" for key, value in device.items() if key not in ("device", "name", "precision")]
    return f"{kind} {name or ''} ({'; '.join([str(precision), *others])})"


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else str(values)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
