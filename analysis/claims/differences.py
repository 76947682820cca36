"""How the network, the images and the settings of a run differ from those of the original."""

from analysis.claims.claim import Claim
from analysis.claims.evidence import Evidence

# Of the original: steps of a modification, epochs of a training on flowers.
_NUM_STEPS, _NUM_EPOCHS = 100, 40


def differences(claim: Claim, evidence: Evidence) -> str:
    """Return in a sentence how the run differs from the original's setting; empty if no difference is known."""
    return "; ".join(
        part
        for part in (*_network_and_images(claim, evidence), *_settings(claim, evidence), _state(evidence))
        if part
    )


def in_setting(claim: Claim, evidence: Evidence) -> bool:
    """Return whether the run is of the network and data that the original measured on."""
    return evidence.is_of(claim.setting.models, claim.setting.datasets)


def _network_and_images(claim: Claim, evidence: Evidence) -> list[str]:
    if in_setting(claim, evidence):
        return [claim.differs]
    here = " on ".join(", ".join(names) for names in (evidence.models, evidence.datasets) if names)
    return [claim.differs, f"{here} in place of {claim.setting.description}"]


def _settings(claim: Claim, evidence: Evidence) -> list[str]:
    found = evidence.settings
    parts = []
    if evidence.kind == "attack" and found.get("clip") and not claim.bound:
        parts.append("clipped to [0, 1]")
    if evidence.kind == "attribute_training" and claim.setting.datasets == ("flowers",) and "epochs" in found:
        epochs = f"{found['epochs']} epoch" + ("s" if found["epochs"] != 1 else "")
        parts.append(
            f"{epochs} of training in place of {_NUM_EPOCHS}" if found["epochs"] != _NUM_EPOCHS else ""
        )
    if evidence.kind == "modify" and found.get("num_steps", _NUM_STEPS) != _NUM_STEPS:
        parts.append(f"{found['num_steps']} steps in place of {_NUM_STEPS}")
    if evidence.kind == "generate" and found.get("input_scaling") == "model":
        parts.append("inputs are normalised")
    if evidence.kind == "generate" and found.get("image_size") not in (None, 256):
        parts.append(f"{found['image_size']} pixels in place of 256")
    return parts


def _state(evidence: Evidence) -> str:
    missing = evidence.run.missing()
    return f"the run is unfinished: {missing}" if missing else ""
