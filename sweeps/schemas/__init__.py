"""Arrow schemas of results/ and images/: the contract between the sweeps and the analysis."""

from sweeps.schemas.activations import activations_images, activations_results
from sweeps.schemas.attack import attack_images, attack_results, attack_victims
from sweeps.schemas.attribute import (
    SCORE_COLUMNS,
    attribute_images,
    attribute_results,
    attribute_scores,
    attribution_field,
    training_images,
    training_results,
)
from sweeps.schemas.axis_kinds import IDENTITY
from sweeps.schemas.columns import (
    DICTIONARY_COLUMNS,
    IMAGE_COLUMNS,
    IMAGE_TYPE,
    LATER_COLUMNS,
    SCHEMA_VERSION,
    images_schema,
)
from sweeps.schemas.generate import generate_images, generate_results, tune_results
from sweeps.schemas.modify import modify_images, modify_results
from sweeps.schemas.units import unit_images, unit_results

__all__ = [
    "DICTIONARY_COLUMNS",
    "IDENTITY",
    "IMAGE_COLUMNS",
    "IMAGE_TYPE",
    "LATER_COLUMNS",
    "SCHEMA_VERSION",
    "SCORE_COLUMNS",
    "activations_images",
    "activations_results",
    "attack_images",
    "attack_results",
    "attack_victims",
    "attribute_images",
    "attribute_results",
    "attribute_scores",
    "attribution_field",
    "generate_images",
    "generate_results",
    "images_schema",
    "modify_images",
    "modify_results",
    "training_images",
    "training_results",
    "tune_results",
    "unit_images",
    "unit_results",
]
