"""A network in training, seen as a classifier: it shares the weights' memory and changes nothing."""

from torch import nn

from attrib_core.classifiers import Classifier, Labels
from attrib_core.classifiers.identity import Identity
from attrib_core.classifiers.registry import find_architecture
from attrib_core.execution import Execution
from attrib_core.training.loop import initial_network


def live_classifier(
    network: nn.Module, model: str, class_names: tuple[str, ...], execution: Execution
) -> Classifier:
    """A classifier, in eval mode with frozen weights, of a network that goes on being trained.

    Its weights and statistics are the network's own tensors, so that it follows every update made in place at no
    cost, while the network stays in train mode and its parameters go on collecting gradients.
    """
    view = execution.prepare(initial_network(model, len(class_names), seed=0))
    view.load_state_dict(
        {name: tensor.detach() for name, tensor in network.state_dict().items()}, assign=True
    )
    identity = Identity(
        name=model,
        digest="",  # of weights that change
        preprocessing=find_architecture(model).preprocessing(None),
        labels=Labels(class_names=class_names),
    )
    return Classifier(view, identity).to(execution.device)
