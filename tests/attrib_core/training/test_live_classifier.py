"""A classifier that looks at a network in training follows it, and does not disturb it."""

import torch

from attrib_core.training import TrainingSettings, live_classifier

SETTINGS = TrainingSettings(epochs=1, batch_size=16, optimizer="sgd", learning_rate=0.01)
CLASS_NAMES = tuple("0123456789")


def look(classifier) -> torch.Tensor:
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = classifier(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.abs().max() > 0
    return logits.detach()


def test_it_follows_every_update_of_weights_and_statistics(make_trainer, execution) -> None:
    trainer = make_trainer(SETTINGS, "fashion_alexnet")  # has batch norms and dropout
    classifier = live_classifier(trainer.network, "fashion_alexnet", CLASS_NAMES, execution)
    before = look(classifier)
    trainer.advance()
    after = look(classifier)
    assert not torch.equal(before, after)
    ours = classifier.network.state_dict()
    for name, tensor in trainer.network.state_dict().items():
        assert ours[name].data_ptr() == tensor.data_ptr(), name
        assert ours[name].stride() == tensor.stride(), name


def test_a_training_that_is_looked_at_ends_in_the_same_weights(make_trainer, execution) -> None:
    for model in ("fashion_deep", "fashion_alexnet"):
        alone, watched = make_trainer(SETTINGS, model), make_trainer(SETTINGS, model)
        classifier = live_classifier(watched.network, model, CLASS_NAMES, execution)
        look(classifier)
        for _ in alone.updates():
            watched.advance()
            look(classifier)
        for name, tensor in alone.network.state_dict().items():
            assert torch.equal(tensor, watched.network.state_dict()[name]), (model, name)
        assert all(parameter.requires_grad for parameter in watched.network.parameters())
