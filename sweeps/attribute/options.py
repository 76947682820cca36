"""Options of the sweeps that attribute: what is explained, and the settings of the methods."""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from attrib_core.attribution import AttributionSettings, method_named
from attrib_core.prepared import PreparedModel
from sweeps.cli import SweepOptions
from sweeps.ranges import parse_names, parse_references, refuse_same

REFERENCES = (
    "a method's own settings, `occlusion:window_size=8`; `captum:NAME`; a function of yours, `FILE.py:NAME`"
)


class AttributionOptions(SweepOptions):
    """What a method's values depend on."""

    window_size: int | None = Field(
        None, description="Side of occlusion's window in pixels; a seventh of the image's."
    )
    stride: int | None = Field(
        None, description="Pixels from one window to the next; half a window if not given."
    )
    baseline: Literal["black", "blurred", "uniform"] = Field(
        "black", description="Where integrated gradients start."
    )
    num_steps: int | Literal["auto"] = Field(
        50,
        description="Points on the path of integrated gradients; `auto` doubles them until the sum is right.",
    )
    tolerance: float = Field(
        0.01, description="Where `auto` stops: the sum's error, as a share of the change that it explains."
    )
    upsample: Literal["bilinear", "nearest", "bicubic"] = Field(
        "bilinear", description="How grad_cam brings its map to the image's size."
    )
    num_samples: int = Field(25, description="Noisy copies of smooth_grad.")
    noise: float = Field(0.15, description="Their standard deviation, in pixel units of [0, 1].")

    def attribution_settings(self) -> AttributionSettings:
        """Return the settings of the methods. Raises ValueError for values that cannot be."""
        return AttributionSettings(
            window_size=self.window_size,
            stride=self.stride,
            baseline=self.baseline,
            num_steps=self.num_steps,
            tolerance=self.tolerance,
            upsample=self.upsample,
            num_samples=self.num_samples,
            noise=self.noise,
            seed=self.seed,
        )


def parse_methods(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the methods of a list in their canonical text; `known` are the names that need no reference.

    Raises ValueError for a name or a reference that is not there, or whose settings cannot be.
    """
    references = parse_references("methods", text, known)
    for element in [] if text == "all" else text.split(","):
        if ":" in element or element.strip().endswith(".py"):
            method_named(element.strip())
        else:
            parse_names("methods", element, known)
    named = [each for each in references if each not in known]
    refuse_same("methods", {each: method_named(each).given for each in named})
    return references


def check_methods(methods: Sequence[str], settings: AttributionSettings, image_shape: Sequence[int]) -> None:
    """Raise ValueError where settings of a method fit neither the others nor images `[C, H, W]`."""
    settings.window(*image_shape[1:])
    for name in methods:
        method = method_named(name)
        if not method.changes:
            continue
        try:
            method.settings_of(settings).window(*image_shape[1:])
        except ValueError as error:
            raise ValueError(f"methods={name!r}: {error}") from None


def tried_methods(
    methods: Sequence[str], models: Sequence[Callable[[], PreparedModel]], *, are_all: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the methods, and notes on them for users. The models are made only if a method looks at them.

    Where the methods `are_all` that there are, one that cannot explain a model is left out, with a note. Otherwise
    it raises ValueError.
    """
    checks = {name: check for name in methods if (check := method_named(name).check) is not None}
    made = [make() for make in models] if checks else []
    left_out: set[str] = set()
    notes: dict[str, None] = {}
    for name, check in checks.items():
        try:
            notes |= dict.fromkeys(note for model in made for note in check(model))
        except ValueError as error:
            if not are_all:
                raise
            left_out.add(name)
            notes[f"{name} is left out: {str(error).partition(': ')[2]}"] = None
    return tuple(name for name in methods if name not in left_out), tuple(notes)


def definitions_of_methods(methods: Sequence[str], settings: AttributionSettings) -> dict[str, str]:
    """Return which settings, or which code of others, shape the values of the methods that have any."""
    described = {f"method {name}": method_named(name).describe(settings) for name in methods}
    return {name: text for name, text in described.items() if text}
