"""What a reference to an attack may say, and what is said of one that cannot be."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from attrib_core.attacks import METHODS, AttackSettings, adapters, attack_batch, method_named
from attrib_core.references import parse_reference

MISTAKES = {
    "foolbox:L2DeepFool": r"no attack of foolbox 'L2DeepFool'; near matches are L2DeepFoolAttack",
    "foolbox": r"accepted is foolbox:NAME",
    "foolbox:LinfPGD:step=5": r"no setting 'step'; near matches are steps",
    "foolbox:LinfPGD:steps=many": r"steps=many: ",
    "foolbox:LinearSearchContrastReductionAttack": r"it needs a distance; accepted are .*:distance=l0",
    "torchattacks:PDG": r"no attack of torchattacks 'PDG'; near matches are PGD",
    "torchattacks:PGD:eps=0.1": r"no setting 'eps'",
    "torchattacks:LGV": r"no attack of torchattacks 'LGV'",
    "torchattacks:AutoAttack:version=fast": r"Not valid version",
    "advlib:fmm": r"no attack of advlib 'fmm'; near matches are .*fmn",
    "advlib:fmn": r"it needs norm; accepted is advlib:fmn:norm=VALUE",
    "pgd:steps=5": r"no setting 'steps'; near matches are step_size, num_steps",
    "pgd:num_steps=0": r"method='pgd:num_steps=0': num_steps=0: accepted are 1 and more",
    "fgsm:num_steps=5": r"no setting 'num_steps'; it has none",
    "fgsm:one": r"no method 'fgsm:one'",
}


@pytest.mark.parametrize(("reference", "message"), MISTAKES.items())
def test_a_reference_that_cannot_be_is_refused(reference, message) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        method_named(reference)
    assert str(refused.value).startswith(f"method={reference!r}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("family", "module", "said"),
    [
        ("foolbox:LinfPGD", "foolbox", r"pip install 'attrib-sweeps\[foolbox\]'"),
        ("torchattacks:PGD", "torchattacks", r"pip install 'attrib-sweeps\[torchattacks\]'"),
        ("advlib:ddn", "adv_lib", r"pip install --no-deps adv-lib"),
    ],
)
def test_a_library_that_is_missing_can_be_installed(family, module, said, monkeypatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(
        ValueError, match=f"{family.partition(':')[0]} is not installed; accepted after `{said}"
    ):
        adapters.find_attack("methods", parse_reference("methods", family))


def test_a_library_that_is_not_named_is_not_imported() -> None:
    code = "import sys, attrib_core.attacks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"foolbox", "torchattacks", "adv_lib"} & set(done.stdout.split())


def test_settings_of_a_reference_win_over_those_of_the_run(plain, linear_classifier, batch_of) -> None:
    weights = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    model = plain(linear_classifier(weights, torch.zeros(3)))
    batch = batch_of(torch.full((4, 1, 4, 4), 0.5), torch.tensor([0, 1, 2, 0]))

    def images_of(reference: str, num_steps: int) -> Tensor:
        settings = AttackSettings(num_steps=num_steps)
        return attack_batch(model, batch, reference, [0.05], settings, keep=range(4)).adversarial_images

    assert torch.equal(images_of("pgd:num_steps=7", 2), images_of("pgd", 7))
    assert not torch.equal(images_of("pgd:num_steps=7", 2), images_of("pgd", 2))
    assert torch.equal(images_of("bim:step_size=1/255", 2), images_of("bim:step_size=0.00392156862745098", 2))
    assert method_named("pgd:num_steps=7").describe(AttackSettings()) == "7 steps of 2.5 epsilon / steps"
    assert method_named("minimum_fgsm:tolerance=0.1").seeks_minimum
    assert method_named("pgd_l2:num_steps=7").norm == "l2"
    assert method_named("pgd") is METHODS["pgd"]
