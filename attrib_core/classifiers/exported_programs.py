"""Exported programs, `FILE.pt2`: a network without its Python code, as `torch.export.save` writes it.

Reading one can run code: torch falls back to pickle for parts of it. So it is read only where the user names it
as a model, as a file of code, and never as weights.
"""

import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attrib_core.classifiers.heads import Shaped
from attrib_core.classifiers.identity import Identity, Labels, Preprocessing
from attrib_core.classifiers.registry import PROGRAM, Architecture, Files, StateDict
from attrib_core.classifiers.user_modules import checked_module
from attrib_core.classifiers.wrapping import Description, identify
from attrib_core.errors import in_one_line
from attrib_core.references import Reference, unknown

STORED = "stored"  # the weights in the program
INSIDE = "program."  # begins the names of its tensors
BATCHES = (1, 4)  # numbers of images that a program has to take
EXPORT = 'torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))'


class ExportedNetwork(nn.Module):
    """An exported program as a module; eval and train mode change nothing in it, and torch refuses to try."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: Tensor) -> Any:
        """Return what the program gives for images `[B, C, H, W]`."""
        return self.program(images)

    def train(self, mode: bool = True) -> "ExportedNetwork":
        """Note the mode, for this module alone."""
        self.training = mode
        return self


class ExportedProgram(Architecture):
    """A program in a file; it has weights, and takes images of the size with which it was exported."""

    weights_names, default_weights = (STORED,), STORED

    def __init__(self, reference: Reference, files: Files) -> None:
        path = Path(reference.target).expanduser()
        self.name = path.name
        self._where = f"model={str(reference)!r}"
        if reference.settings:
            raise ValueError(f"{self._where}: an exported program has no settings; accepted are none")
        self.files = files or {self.name: _read(self._where, path)}
        self._content = self.files[self.name]
        self.definition = f"SHA-256 {hashlib.sha256(self._content).hexdigest()[:16]}"
        self._description = Description()

    @property
    def num_classes(self) -> int:  # type: ignore[override]  # counted when first asked for
        return len(self._identity.labels.class_names)

    def described(self, description: Description) -> Architecture:
        changed = ExportedProgram(Reference((self.name,)), self.files)
        changed._where, changed._description = self._where, description
        return changed

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        """Return the network; ValueError for untrained weights and those of a file, which it cannot have."""
        if untrained:
            raise ValueError(
                f"{self._where}: an exported program has its weights inside; accepted are those, without --weights"
            )
        return self._network()[0]

    def fetch(self, weights_name: str) -> StateDict:
        return self._network()[0].state_dict()

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        return self._identity.preprocessing

    def labels(self, num_classes: int) -> Labels:
        return self._identity.labels

    def for_images(self, preprocessing: Preprocessing) -> Architecture:
        return self

    def heads(self, network: nn.Module) -> tuple[str, ...]:
        return ()

    def adapt(self, state: StateDict) -> StateDict:
        """Name the tensors of the network that was exported as the program around them does."""
        return {name if name.startswith(INSIDE) else f"{INSIDE}{name}": each for name, each in state.items()}

    def num_outputs(self, network: nn.Module, state: Shaped) -> int:
        """Return the number of classes, counted in the network's answer to an image."""
        return self.num_classes

    @cached_property
    def _identity(self) -> Identity:
        network, shape = self._network()
        said = self._description
        described = Description(
            mean=said.mean,
            std=said.std,
            image_size=said.image_size or shape[-1],
            channels=said.channels or (None if said.mean else shape[1]),
            class_names=said.class_names,
        )
        network = network.requires_grad_(False)
        self._check_batches(network, shape)
        try:
            return identify(network, described)
        except ValueError as error:
            raise ValueError(f"{self._where}: {str(error).removeprefix('network: ')}") from error

    def _check_batches(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        for count in BATCHES:
            try:
                with torch.no_grad():
                    network(torch.zeros(count, *shape[1:]))
            except Exception as error:
                raise ValueError(
                    f"{self._where}: exported for batches of {shape[0]}, it fails on one of {count} "
                    f"({in_one_line(error)}); accepted is one for batches of any size: {EXPORT}"
                ) from error

    def _network(self) -> tuple[nn.Module, tuple[int, ...]]:
        """Return the network and the shape `[B, C, H, W]` of the images with which it was exported."""
        try:
            with _quiet():
                program = torch.export.load(io.BytesIO(self._content))
        except Exception as error:  # torch raises many kinds for what is not one
            raise ValueError(
                f"{self._where}: no exported program ({in_one_line(error)}); accepted is what torch.export.save "
                "writes"
            ) from error
        shape = _image_shape(program)
        if shape is None:
            raise ValueError(
                f"{self._where}: it does not take one batch of square images; accepted is a program of "
                "[B, C, H, W]"
            )
        return checked_module(self._where, ExportedNetwork(program.module(check_guards=False))), shape


def _image_shape(program: Any) -> tuple[int, ...] | None:
    """Return the shape of the program's only input, None if it is none of square images."""
    names = program.graph_signature.user_inputs
    values = [
        node.meta.get("val")
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names
    ]
    if len(values) != 1 or not isinstance(values[0], Tensor) or values[0].ndim != 4:
        return None
    shape = tuple(int(side) if isinstance(side, int) else side.node.hint or 1 for side in values[0].shape)
    return shape if shape[2] == shape[3] else None


def _read(where: str, path: Path) -> bytes:
    if not path.is_file():
        near = [each.name for each in path.parent.glob(f"*{PROGRAM}")] if path.parent.is_dir() else []
        raise ValueError(f"{where}: {unknown('file', path.name, near)}")
    return path.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's log lines on a file that is no program away from the one line that says so."""
    logger = logging.getLogger("torch.export")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _ExportedPrograms:
    def architecture(self, reference: Reference, files: Files) -> Architecture:
        return ExportedProgram(reference, files)


FORMAT = _ExportedPrograms()
