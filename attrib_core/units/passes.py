"""Passes that end at a layer.

What comes behind the layer is of no use to its units, and takes half the time or more. So a hook raises `_Reached`
as soon as the layer has given its output, and the caller catches it. It is no `Exception`, so that a network's own
`except Exception` does not catch it. A layer that runs several times in a pass has its last output counted, for
which the pass must go to its end.
"""

from typing import Any

from torch import Tensor, nn

from attrib_core.prepared import PreparedModel
from attrib_core.units.layers import Layer


class _Reached(BaseException):
    """The pass has come to the layer."""


def layer_output(model: PreparedModel, layer: Layer, images: Tensor) -> Tensor:
    """Return in float32 what a layer gives for at most `batch_size` images `[N, C, H, W]`; gradients flow through.

    Raises RefusedSizeError as the model itself does.
    """
    return model.outputs_of(lambda batch: _run(model, layer, batch, ends=layer.num_runs == 1)[0], images)


def answers_and_output(model: PreparedModel, layer: Layer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits `[N, K]` and what the layer gives, both in float32, from one whole pass."""
    outputs: list[Tensor] = []

    def run(batch: Tensor) -> Tensor:
        output, logits = _run(model, layer, batch, ends=False)
        assert logits is not None
        outputs.append(output)
        return logits

    logits = model.outputs_of(run, images)
    return logits, outputs[-1][: len(images)].float()


def _run(model: PreparedModel, layer: Layer, batch: Tensor, *, ends: bool) -> tuple[Tensor, Tensor | None]:
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        # Where the pass goes on, an activation in place may write to the output.
        found.append(output if ends else output.clone())
        if ends:
            raise _Reached

    logits = None
    handle = model.classifier.network.get_submodule(layer.name).register_forward_hook(keep)
    try:
        logits = model.classifier(batch)
    except _Reached:
        pass
    finally:
        handle.remove()
    return found[-1], logits
