"""The names that training scripts and wrappers give to weights, to averages of them, and to what lies beside."""

import re

# Keys under which training scripts store weights.
KEYS = ("state_dict", "model_state_dict", "model_state", "net_state_dict", "weights", "params")
# What wrappers put before a network's names: DataParallel, torch.compile, Lightning, transformers around timm.
PREFIXES = ("module", "_orig_mod", "model", "net", "network", "backbone", "timm_model")
AVERAGE = re.compile(r"(.*_)?(ema|swa|averaged?|shadow)(_.*)?")
# A script's keys for the state of its training.
TRAINING = re.compile(
    r"(.*_)?(opt|optims?|optimizers?|lr|sched|schedulers?|amp|scaler|rng|callbacks|loops)(_.*)?"
)
# Parts of a training module that take no part in its logits.
BESIDE = re.compile(r"(.*_)?(criterions?|loss(es)?|metrics?|acc|accuracy|auroc|f1|n_averaged|initted)(_.*)?")
PROFILED = ("total_ops", "total_params")  # counts that a profiler leaves in a network


def is_wrapper(part: str) -> bool:
    """Return True for a key, or a part of a tensor's name, that leads to weights."""
    return part in (*KEYS, *PREFIXES) or bool(AVERAGE.fullmatch(part))


def is_average(path: str) -> bool:
    """Return True for what lies under a moving average's key."""
    return any(AVERAGE.fullmatch(part) for part in path.split("."))


def is_training(path: str) -> bool:
    """Return True for what lies under a key for the state of a training."""
    return any(TRAINING.fullmatch(part) for part in path.split("."))
