"""A trainer's state, converted to tensors by name and back."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from attrib_core.classifiers.checkpoint import state_digest
from attrib_core.downloads import Download
from attrib_core.training.loop import Trainer


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    """Return the network's weights and buffers, on the CPU. Raises DivergedError if the training has diverged."""
    trainer.settle()
    return _contiguous(trainer.network.state_dict())


def optimizer_state_of(trainer: Trainer) -> dict[str, Tensor]:
    """Return the optimiser's state, by the parameter's number and the optimiser's own name: `3.exp_avg`.

    Raises DivergedError if the training has diverged.
    """
    trainer.settle()
    return _contiguous(_optimizer_tensors(trainer))


def set_weights(trainer: Trainer, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the network; ValueError if they are another network's."""
    own = {name: tensor.shape for name, tensor in trainer.network.state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != own:
        raise ValueError("weights of another network than the one to be trained")
    trainer.network.load_state_dict(weights)
    trainer.state_was_set(in_place=True)


def set_optimizer_state(trainer: Trainer, state: Mapping[str, Tensor]) -> None:
    """Replace the optimiser's whole state; ValueError if it is another network's."""
    parameters = list(trainer.network.parameters())
    for key in state:
        number, _, name = key.partition(".")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise ValueError(f"the optimiser's state {key!r} belongs to no parameter of the network")
    # What is captured as a graph works on the tensors that are there.
    own = _optimizer_tensors(trainer)
    if in_place := {name: each.shape for name, each in own.items()} == {n: v.shape for n, v in state.items()}:
        for name, tensor in own.items():
            tensor.copy_(state[name])
    else:
        _replace_optimizer_state(trainer, parameters, state)
    trainer.state_was_set(in_place=in_place)


def _optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Return the optimiser's own tensors by name."""
    state: dict[str, Tensor] = {}
    for number, parameter in enumerate(trainer.network.parameters()):
        for name, value in trainer.optimizer.state.get(parameter, {}).items():
            if value is not None:  # SGD's momentum before the first update is None
                state[f"{number}.{name}"] = value
    return state


def _replace_optimizer_state(
    trainer: Trainer, parameters: Sequence[nn.Parameter], state: Mapping[str, Tensor]
) -> None:
    trainer.optimizer.state.clear()
    for key, value in state.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # Fused kernels need a moment in the same memory format as its parameter.
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        trainer.optimizer.state[parameter][name] = value.to(parameter.device)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes; of weights, it is their classifier's digest."""
    return state_digest({name: tensor.numpy() for name, tensor in tensors.items()})


def order_digest(trainer: Trainer) -> str:
    """Return the SHA-256 of the next minibatch's indices; "" after the last update.

    The indices are a slice of the epoch's permutation, so another order of the data shows here.
    """
    if trainer.step >= trainer.num_steps:
        return ""
    return hashlib.sha256(trainer.minibatch(trainer.step).numpy().tobytes()).hexdigest()


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    downloads = {name: Download(tensor) for name, tensor in tensors.items()}
    return {name: download.wait().contiguous() for name, download in downloads.items()}
