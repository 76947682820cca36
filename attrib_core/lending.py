"""A classifier lent to other people's code: a copy of its own, which is thrown away once it was changed.

Such code can leave train mode on, hooks behind, or other weights. Later batches and other methods must not see any
of it, and a write to weights in read-only memory would end the process. So the code gets a copy, and the copy is
compared after each call with what it was before. Code that puts back what it changes is welcome. The settings of
torch that everybody shares are compared too, and put back.

Weights are compared by their place in memory, their version, which torch raises at each write, and two of their
values. So what is written through `.data` or NumPy, which no version tells, is noticed if those two values change.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from attrib_core.classifiers import Classifier
from attrib_core.errors import in_one_line
from attrib_core.numerics import current_numerics, set_numerics

ACCEPTED = "accepted is code that leaves the model, and what torch is set to, as they were"
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_hooks_of = itemgetter(*HOOKS)
GLOBAL_HOOKS = tuple(name for name in HOOKS[:4] if hasattr(torch_module, f"_global{name}"))
SIMPLE = (bool, int, float, str, tuple, type(None))
OWN_NAME = "network"  # of the user's module in a classifier


def _enable_cudnn(enabled: bool) -> None:
    torch.backends.cudnn.enabled = enabled


Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
SETTINGS: dict[str, Setting] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "deterministic algorithms": (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "arithmetic on a GPU": (current_numerics, set_numerics),
    "cudnn.enabled": (lambda: torch.backends.cudnn.enabled, _enable_cudnn),
}


class Lending:
    """The copy of one classifier that is lent, made when it is first needed."""

    def __init__(self) -> None:
        self._copy: tuple[Classifier, _Watched] | None = None
        self._own: _Watched | None = None

    @contextmanager
    def copy_of(self, classifier: Classifier, by: str, *, compiled: bool = False) -> Iterator[Classifier]:
        """Lend a copy of a classifier to code that errors call `by`.

        Raises ValueError if the code leaves the copy, or a setting of torch, changed. The copy is then not used
        again. An error of the code itself goes first. `compiled` compiles the copy.
        """
        lent, watched = self._current(classifier, compiled)
        settings, hooks = _settings(), _global_hooks()
        wrong = ""
        try:
            yield lent
        finally:
            # Before anything else runs, also where the code fails: an actor catches its error and goes on.
            wrong = _put_back(settings, hooks)
            if changed := watched.difference():
                self._copy = None
            wrong = changed or wrong
        if wrong:
            raise ValueError(f"{by}: after its call {wrong}; {ACCEPTED}")

    def _current(self, classifier: Classifier, compiled: bool) -> tuple[Classifier, "_Watched"]:
        """Return the copy; another one where the classifier itself changed, as a network in training does."""
        if self._copy is None or self._own is None or self._own.difference():
            lent = _copied(classifier)
            if compiled:
                lent.compile()
            self._own, self._copy = _Watched(classifier), (lent, _Watched(lent))
        return self._copy


class _Facts(NamedTuple):
    """A module as it is; layers within it are compared by identity."""

    kind: type
    settings: tuple[object, ...]
    hooks: tuple[tuple[int, ...], ...]
    layers: tuple[object, ...]
    tensors: tuple[tuple[object, ...], ...]


class _Layer:
    """A module of a network, and which of its facts are looked at."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self.setting_names = _setting_names(module)
        self._holds_hooks = all(name in vars(module) for name in HOOKS)  # a scripted module need not
        self.tensor_names = (*module._parameters, *module._buffers)

    def facts(self) -> _Facts:
        """Return what there is now. Quick, since it is asked before and after each call."""
        module = self.module
        own = vars(module)
        hooks = _hooks_of(own) if self._holds_hooks else ()
        return _Facts(
            type(module),
            (module.training, "forward" in own, *[own.get(name) for name in self.setting_names]),
            tuple([tuple(each) for each in hooks]) if any(hooks) else (),
            tuple(module._modules.values()),
            (*_tensor_facts(module._parameters), *_tensor_facts(module._buffers)),
        )

    def difference(self, before: _Facts, now: _Facts) -> str:
        """Return in words the first thing that is not as before."""
        where = _named(self.name)
        if before.kind is not now.kind:
            return f"{where} is of the class {now.kind.__name__}, before of {before.kind.__name__}"
        if before.settings != now.settings:
            names = ("training", "a forward of its own", *self.setting_names)
            triples = zip(names, before.settings, now.settings, strict=True)
            return next(f"{where} has {name}={new}, before {old}" for name, old, new in triples if old != new)
        if before.hooks != now.hooks:
            return f"{where} has other hooks than before"
        if before.layers != now.layers:
            return f"{where} has other layers than before"
        return f"{where} has {self._tensor_difference(before, now)}"

    def _tensor_difference(self, before: _Facts, now: _Facts) -> str:
        if len(before.tensors) != len(now.tensors):
            return "other parameters and buffers than before"
        filled = [name for name in self.tensor_names if getattr(self.module, name, None) is not None] or list(
            self.tensor_names
        )
        pairs = enumerate(zip(before.tensors, now.tensors, strict=True))
        position, (old, new) = next((each, pair) for each, pair in pairs if pair[0] != pair[1])
        name = filled[position] if len(filled) == len(now.tensors) else "tensor"
        if old[:2] != new[:2]:
            return f"another {name}"
        return f"a {name} with requires_grad={new[2]}" if old[2] != new[2] else f"a {name} that was written"


class _Watched:
    """A classifier as it was when this was made."""

    def __init__(self, classifier: nn.Module) -> None:
        self._layers = [_Layer(name, module) for name, module in classifier.named_modules()]
        tensors = (*classifier.parameters(), *classifier.buffers())
        self._views = [view for tensor in tensors for view in _views(tensor)]
        self._facts, self._values = self._now(), self._values_now()

    def difference(self) -> str:
        """Return in words the first thing that is no longer as it was; nothing if all is."""
        now = self._now()
        if now != self._facts:
            triples = zip(self._layers, self._facts, now, strict=True)
            return next(layer.difference(old, new) for layer, old, new in triples if old != new)
        return "" if torch.equal(self._values, self._values_now()) else "the values of its weights are others"

    def _now(self) -> list[_Facts]:
        return [layer.facts() for layer in self._layers]

    def _values_now(self) -> Tensor:
        return torch.cat(self._views).double().nan_to_num() if self._views else torch.empty(0)


def _setting_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the numbers and words that one of torch's own modules has, such as `inplace`."""
    if not type(module).__module__.startswith("torch.nn."):
        return ()  # a user's module may count its passes
    # What begins with _ tells of hooks that were there.
    return tuple(
        name
        for name, value in vars(module).items()
        if name[0] != "_" and name != "training" and isinstance(value, SIMPLE)
    )


def _tensor_facts(tensors: Mapping[str, Tensor | None]) -> Sequence[tuple[object, ...]]:
    """Return what tells that tensors are others, or were written."""
    if not tensors:
        return ()
    try:
        return [
            (each.data_ptr(), each.shape, each.requires_grad, each._version)
            for each in tensors.values()
            if each is not None
        ]
    except RuntimeError:  # sparse tensors have no one place, those of inference mode no version
        return [
            (id(each), each.shape, each.requires_grad, 0) for each in tensors.values() if each is not None
        ]


@torch.no_grad()
def _views(tensor: Tensor) -> list[Tensor]:
    """Return views `[1]` of two of a tensor's values: the first and one of the middle."""
    if not (tensor.is_floating_point() and tensor.layout is torch.strided and tensor.numel()):
        return []
    own, start = tensor.detach(), tensor.storage_offset()
    last = sum((size - 1) * step for size, step in zip(own.shape, own.stride(), strict=True))
    return [own.as_strided((1,), (1,), start + each) for each in (0, last // 2)]


def _named(name: str) -> str:
    """Return the words for a module, by its name in the user's network."""
    own = name.removeprefix(OWN_NAME).removeprefix(".")
    return f"the layer {own}" if own else "the network"


def _copied(classifier: Classifier) -> Classifier:
    try:
        return copy.deepcopy(classifier).eval()
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{classifier.name}: copy.deepcopy fails ({in_one_line(error)}); foreign code is lent a copy, so that "
            "accepted is a network that it copies"
        ) from error


def _settings() -> dict[str, object]:
    return {name: get() for name, (get, _) in SETTINGS.items()}


def _global_hooks() -> dict[str, dict[int, object]]:
    return {name: dict(getattr(torch_module, f"_global{name}")) for name in GLOBAL_HOOKS}


def _put_back(settings: dict[str, object], hooks: dict[str, dict[int, object]]) -> str:
    """Put back the settings and hooks that all networks share. Returns in words what was changed."""
    wrong = ""
    for name, value in _settings().items():
        if value != settings[name]:
            SETTINGS[name][1](settings[name])
            wrong = f"torch's {name} is {value}, before {settings[name]}"
    for name, before in hooks.items():
        now = getattr(torch_module, f"_global{name}")
        if now.keys() != before.keys():
            now.clear()
            now.update(before)
            wrong = "torch has hooks on all modules"
    return wrong
