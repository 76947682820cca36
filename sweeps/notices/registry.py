"""The trackers that `--notify` names, and what can be found wrong with such a list before any work starts."""

import importlib
import importlib.util

from attrib_core.references import Reference, parse_reference, typed_settings, unknown
from sweeps.notices.sink import Sink
from sweeps.store.run_directory import resolve_url

# The module beside this one and its class, by name. It is imported when named; its library only by the process
# that tells it.
SINKS = {"mlflow": "MLflow", "tensorboard": "TensorBoard", "wandb": "WandB"}


def check_notices(text: str, output: str) -> None:
    """Raise ValueError, in one line, for trackers that cannot take notices of this run directory."""
    if text == "none":
        return
    run = resolve_url(output)
    for name, sink in chosen(text).items():
        if importlib.util.find_spec(sink.library) is None:
            raise ValueError(
                f"notify: {name} is not installed; accepted after pip install 'attrib-sweeps[{name}]'"
            )
        sink.check(run)


def chosen(text: str) -> dict[str, Sink]:
    """Return the trackers of a list by name, none of `none`. Raises ValueError for one that is not known."""
    sinks: dict[str, Sink] = {}
    for element in () if text == "none" else text.split(","):
        reference = parse_reference("notify", element)
        if reference.name in sinks:
            raise ValueError(f"notify: {reference.name} is listed twice; list it once")
        sinks[reference.name] = _sink(reference)
    return sinks


def _sink(reference: Reference) -> Sink:
    if reference.name not in SINKS:
        raise ValueError(f"notify: {unknown('tracker', reference.name, SINKS)}")
    if reference.rest:
        raise ValueError(
            f"notify={str(reference)!r}: {reference.rest[0]!r} is no setting; accepted: key=value"
        )
    module = importlib.import_module(f"{__package__}.{reference.name}")
    kind = getattr(module, SINKS[reference.name])
    sink: Sink = kind(**typed_settings("notify", reference, kind))
    return sink
