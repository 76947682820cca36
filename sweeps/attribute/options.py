"""Options of the sweeps that attribute: what is explained, and the settings of the methods."""

from typing import Literal

from pydantic import Field

from attrib_core.attribution import AttributionSettings
from sweeps.cli import SweepOptions


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
    num_steps: int = Field(50, description="Points on the path of integrated gradients.")
    num_samples: int = Field(25, description="Noisy copies of smooth_grad.")
    noise: float = Field(0.15, description="Their standard deviation, in pixel units of [0, 1].")

    def attribution_settings(self) -> AttributionSettings:
        """Return the settings of the methods. Raises ValueError for values that cannot be."""
        return AttributionSettings(
            window_size=self.window_size,
            stride=self.stride,
            baseline=self.baseline,
            num_steps=self.num_steps,
            num_samples=self.num_samples,
            noise=self.noise,
            seed=self.seed,
        )
