"""Searches a pyramid recipe's parameters with Ray Tune: the judge's accuracy, at a fixed cost, stopping early.

    python sweeps/tune_recipe.py --num-samples 64 --time-budget 3600 --output runs/tune_recipe
    python sweeps/generate_all.py --recipes default,runs/tune_recipe/best_recipe.yaml

Every configuration sees as many pixels as `--base` does: smaller views buy more steps. The classes come in chunks
of `--shard-size`, in one shuffled order for all; after each, ASHA stops the configurations that are behind.
"""

import sys
from dataclasses import asdict, replace
from functools import partial

from pydantic import Field

from attrib_core.classifiers import build_classifier, read_checkpoint
from attrib_core.generation import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe_files import recipe_digest, settings_digest
from attrib_core.generation.recipes import DEFAULT, FAST
from attrib_core.seeding import derive_seed
from sweeps.cli import SweepOptions, run_command
from sweeps.generate_job import GenerateSettings, Weights
from sweeps.plan import AxisKinds
from sweeps.ranges import format_integers, parse_integers, parse_names
from sweeps.recipe_sources import is_file, read_settings_file
from sweeps.runner import Sweep
from sweeps.tune_space import DEFAULT_PARAMETERS, RANGES, sample_configurations
from sweeps.tune_trial import TuneJob

CHUNK_SIZE = 8
NUM_CLASSES = 48
# A shard is a chunk of the classes under one recipe; which classes a chunk holds follows from the settings.
KINDS = AxisKinds(group=("recipe",), cells=("chunk",))
BASES = {"default": DEFAULT, "fast": FAST}
IMAGE_SEED = 0


class TuneOptions(SweepOptions):
    """Options of the recipe search."""

    output: str = Field("runs/tune_recipe", description="Run directory: a path, s3://, gs:// or az://.")
    model: str = Field("efficientnet_lite0", description="The generating classifier.")
    weights: str | None = Field(None, description="Local weights file, or a torchvision weights enum.")
    judges: str = Field(
        "efficientnet_lite1", description="The first judge's accuracy is the objective; others are recorded."
    )
    classes: str | None = Field(
        None, description=f"Target classes: `0-31,291` or `all`; {NUM_CLASSES} spread evenly if not given."
    )
    num_samples: int = Field(32, ge=1, description="Configurations; the first is the base itself.")
    time_budget: float | None = Field(None, gt=0, description="Seconds after which the search stops.")
    num_steps: int | None = Field(None, ge=1, description="Steps of the base, which set the cost of all.")
    image_size: int | None = Field(None, ge=32, le=4096, description="Pixels; the model's own if not given.")
    base: str = Field("default", description=f"Where to start: {', '.join(BASES)}, or a YAML file.")
    parameters: str = Field(
        ",".join(DEFAULT_PARAMETERS), description=f"Fields to search, of {', '.join(RANGES)}, or `all`."
    )
