"""Trainings that can be recorded and played again: the loop, its settings and data, and tapes."""

from attrib_core.training.data import NormalizedImages, augment
from attrib_core.training.gradient_sums import SUMMED_METHODS, GradientSums
from attrib_core.training.live_classifier import live_classifier
from attrib_core.training.loop import Trainer, accuracy, initial_network
from attrib_core.training.settings import (
    Loss,
    Optimizer,
    Schedule,
    TrainingSettings,
    original_settings,
    recommended_settings,
    with_changes,
)
from attrib_core.training.tape import Tape, TapeError, TapeHeader
from attrib_core.training.tape_device import runs_on
from attrib_core.training.update import DivergedError, Update

__all__ = [
    "SUMMED_METHODS",
    "DivergedError",
    "GradientSums",
    "Loss",
    "NormalizedImages",
    "Optimizer",
    "Schedule",
    "Tape",
    "TapeError",
    "TapeHeader",
    "Trainer",
    "TrainingSettings",
    "Update",
    "accuracy",
    "augment",
    "initial_network",
    "live_classifier",
    "original_settings",
    "recommended_settings",
    "runs_on",
    "with_changes",
]
