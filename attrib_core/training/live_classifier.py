"""A classifier that shares the memory of a network in training."""

from torch import nn

from attrib_core.classifiers import Classifier, Description, Labels
from attrib_core.classifiers.identity import Identity
from attrib_core.execution import Execution
from attrib_core.training.loop import initial_network
from attrib_core.training.models import AS_THE_MODEL_SAYS, trained_model


def live_classifier(
    network: nn.Module,
    model: str,
    class_names: tuple[str, ...],
    execution: Execution,
    description: Description = AS_THE_MODEL_SAYS,
) -> Classifier:
    """Return a classifier, in eval mode with frozen weights, that follows a network in training.

    Optimisers update weights in place. The classifier is a second network of the same architecture whose
    weights and statistics are the same memory, so it sees every update without a copy. Mode and `requires_grad`
    belong to the modules and parameters, not to the memory: the trained network stays in train mode and
    collects gradients. (`Classifier.wrap` copies instead: its classifier must not change, since its digest
    names its weights.)
    """
    view = execution.prepare(initial_network(model, len(class_names), 0, description))
    view.load_state_dict(
        {name: tensor.detach() for name, tensor in network.state_dict().items()}, assign=True
    )
    identity = Identity(
        name=model,
        digest="",  # the weights change
        preprocessing=trained_model(model, len(class_names), description)[1],
        labels=Labels(class_names=class_names),
    )
    return Classifier(view, identity).to(execution.device)
