"""On a GPU the jobs over images wait a few times a batch, and an attack finds what it finds on a CPU."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import METHODS, AttackBatch, AttackResult, AttackSettings, attack_batch
from attrib_core.attacks.mixed_precision import attacked_model
from attrib_core.attribution import METHODS as ATTRIBUTIONS
from attrib_core.attribution import AttributionSettings
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.generation.modification import ModificationSettings
from sweeps.attack.job import AttackJob, AttackJobSettings
from sweeps.attack.victims import AttackInputs
from sweeps.attribute.job import AttributeJob, AttributeJobSettings
from sweeps.attribute.training_maps import AttributeInputs
from sweeps.images.actor import ActorSettings
from sweeps.images.inputs import ImageInputs
from sweeps.modify.job import ModifyJob, ModifyJobSettings
from sweeps.plan import Shard
from tests.gpu.pretend_gpu import Counts

NUM_IMAGES = 8
FEW = 2
EPSILONS = (0.0, 0.25 / 255, 1 / 255, 0.1)
SETTINGS = AttackSettings(num_steps=2)
# A level of the grid or a guess of the root is a round, after which the host asks which images are left.
ROUNDS = 28
WAITS = {name: ROUNDS if method.seeks_minimum else 2 for name, method in METHODS.items()}


def actor_of(folder: object, batch_size: int = NUM_IMAGES) -> ActorSettings:
    return ActorSettings(
        output=str(folder),
        precision="float32",
        save_images=frozenset({1, 3}),
        batch_size=batch_size,
        device="gpu",
    )


def shard_of(count: int = NUM_IMAGES, **axes: object) -> Shard:
    return Shard("shard", axes, tuple((index,) for index in range(count)))


@pytest.fixture
def attack_job(gpu: Counts, tmp_path, noise_inputs: ImageInputs) -> AttackJob:
    settings = AttackJobSettings(
        actor=actor_of(tmp_path), attack=SETTINGS, save_perturbations=frozenset(range(NUM_IMAGES))
    )
    return AttackJob(settings, AttackInputs.of(noise_inputs, {}, ()))


@pytest.mark.parametrize(
    ("method", "target"), [*((method, "untargeted") for method in METHODS), ("fgsm", 3), ("pgd", 3)]
)
def test_an_attack_waits_for_a_second_look_and_for_its_result(
    attack_job: AttackJob, gpu: Counts, method: str, target: str | int
) -> None:
    shard = shard_of(method=method, checkpoint="trained", target=target, epsilon=EPSILONS)
    attack_job._model("trained", EPSILONS)
    gpu.clear()
    attack_job.compute(shard)
    assert gpu.num_waits <= WAITS[method], gpu.report()


def test_attributions_wait_a_few_times_for_all_methods(
    gpu: Counts, tmp_path, noise_inputs: ImageInputs
) -> None:
    settings = AttributionSettings(num_steps=2, num_samples=2, window_size=14, stride=14)
    job = AttributeJob(
        AttributeJobSettings(actor=actor_of(tmp_path, 44), attribution=settings),
        AttributeInputs.of(noise_inputs, None),
    )
    shard = shard_of(FEW, method=tuple(ATTRIBUTIONS), target="predicted", checkpoint="trained")
    job.compute(shard)  # which layers can be treated by themselves is found out once a model
    gpu.clear()
    job.compute(shard)
    # For logits, which are checked, windows to cover, steps that change an image, and the result.
    assert gpu.num_waits <= 4, gpu.report()


def test_a_modification_waits_once(gpu: Counts, tmp_path, noise_inputs: ImageInputs) -> None:
    settings = ModificationSettings(num_steps=3)
    job = ModifyJob(ModifyJobSettings(actor=actor_of(tmp_path), modification=settings), noise_inputs)
    gpu.clear()
    job.compute(shard_of(target=3))
    assert gpu.num_waits <= 1, gpu.report()


class Faulty(nn.Module):
    """Two opposite logits of 16 pixels, so steep that the softmax is saturated, and NaN for some images."""

    def __init__(self) -> None:
        super().__init__()
        weights = 100 * torch.randn(16, generator=torch.Generator().manual_seed(5))
        self.register_buffer("weights", torch.stack([-weights, weights], 1))

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1) @ self.weights
        first = images[:, 0, 0, 0]
        # The gradient of the root is infinite at 0; near 1 the logits are NaN, which an attack reaches from 0.95.
        logits = logits + 1e-3 * (first.sqrt() * 0)[:, None]
        return torch.where((first > 0.96)[:, None], torch.nan, logits)


def faulty() -> tuple[Classifier, Tensor]:
    images = torch.rand(NUM_IMAGES, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    images[:4, 0, 0, 0] = torch.tensor([0.0, 0.95, 0.99, 0.5])
    return Classifier.wrap(Faulty(), image_size=4, channels=1), images


def fashion() -> tuple[Classifier, Tensor]:
    return load_classifier("fashion_deep"), torch.rand(
        NUM_IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(1)
    )


def attacked(
    make: Callable[[], tuple[Classifier, Tensor]],
    device: str,
    method: str,
    precision: str = "float32",
    target: int | None = None,
) -> AttackResult:
    classifier, images = make()
    labels = torch.zeros(NUM_IMAGES, dtype=torch.long)
    keys = tuple(range(NUM_IMAGES))
    calibration = AttackBatch(images=images, labels=labels, keys=keys)
    model = attacked_model(classifier, precision, calibration, EPSILONS, device=device, batch_size=NUM_IMAGES)
    batch = AttackBatch(
        images=model.images(images),
        labels=labels.to(device),
        targets=None if target is None else torch.full_like(labels, target).to(device),
        keys=keys,
    )
    return attack_batch(model, batch, method, EPSILONS, SETTINGS, keep=(0, 3, 5))


def facts(result: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in fields(result):
        value = getattr(result, field.name)
        if is_dataclass(value):
            yield from facts(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


@pytest.mark.parametrize(
    ("make", "method"),
    [*((faulty, method) for method in METHODS), (fashion, "fgsm"), (fashion, "minimum_fgsm")],
)
def test_results_are_those_of_the_cpu(gpu: Counts, make, method: str) -> None:
    expected, found = attacked(make, "cpu", method), attacked(make, "gpu", method)
    assert (make is faulty) == any(expected.failures)
    for (name, value), (_, other) in zip(facts(expected), facts(found), strict=True):
        if isinstance(value, Tensor):
            torch.testing.assert_close(other, value, rtol=0, atol=0, equal_nan=True, msg=name)
        else:
            assert other == value, name


def test_probabilities_are_refused(gpu: Counts) -> None:
    def probabilities() -> tuple[Classifier, Tensor]:
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
        return Classifier.wrap(network, image_size=4, channels=1), faulty()[1]

    with pytest.raises(ValueError, match="probabilities"):
        attacked(probabilities, "gpu", "fgsm")


@pytest.mark.parametrize("method", ["fgsm", "minimum_fgsm"])
def test_mixed_precision_and_targets_run_there(gpu: Counts, method: str) -> None:
    found = attacked(fashion, "gpu", method, "mixed", target=2)
    assert found.failures == (None,) * NUM_IMAGES
