"""Where the weights stand in a checkpoint: under which keys, behind which prefixes, and what lies beside them.

A training script's keys and the prefixes that wrappers put before names are read alike, as parts of one path. One
part after the other is followed from the top, as long as it leads to weights. What lies beside the way is ignored
where it cannot belong to the network, and the notes say so. A normaliser's mean and std are kept. The rest is
refused.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attrib_core.classifiers.checkpoint_contents import Contents, has_tensors, tensors_in
from attrib_core.classifiers.checkpoint_keys import BESIDE, PROFILED, is_average, is_training, is_wrapper
from attrib_core.classifiers.reparametrizations import check_no_adapters, with_products
from attrib_core.classifiers.stored_scaling import ACCEPTED, StoredScaling, is_scaling, read_scaling

OWN_SHARE = 0.5  # of a network's tensors, from which a part of the file counts as its weights
NUM_NAMED = 8  # parts that a note names


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """A state dict under the network's own names, the normaliser beside it, and notes on how they were found.

    `doubt` says what is unclear of the normaliser; then mean and std have to be the user's.
    """

    state: dict[str, Tensor]
    scaling: StoredScaling | None = None
    doubt: str | None = None
    notes: tuple[str, ...] = ()


def find_weights(
    content: Any, own: Mapping[str, Tensor] | None = None, key: str | None = None
) -> StoredWeights:
    """Return the weights in what a file holds.

    `own` is the state dict of the network that they are for; `key` is the path that the user chose. Raises
    ValueError where there are none, where several could be meant, and where others beside them may belong to it.
    """
    contents, own = Contents(content), own or {}
    contents.leaves, notes = with_products(contents.leaves, own)
    way = _Way(contents, own)
    if key is not None:
        way.follow(key)
    way.follow_all()
    check_no_adapters(contents.leaves if key is None else contents.below(way.prefix))
    if key is None:
        way.check_nameless()
    stored = way.weights()
    return replace(stored, notes=(*stored.notes, *notes))


class _Way:
    """The way from the top of a file, or from a prefix, to the weights, and what lies beside it."""

    def __init__(self, contents: Contents, own: Mapping[str, Tensor], prefix: str = "") -> None:
        self.contents, self.own, self.prefix = contents, own, prefix
        self.ignored: list[str] = []
        self.scaling: dict[str, Any] = {}

    def follow(self, key: str) -> None:
        """Go where the user says."""
        if not has_tensors(self.contents.below(f"{key}.")):
            known = [path for path in self.contents.script_keys() if not is_training(path)]
            raise ValueError(f"no weights under {key!r}; accepted are {', '.join(known) or 'no keys'}")
        for part in key.split("."):
            self._enter(part, chosen=True)

    def follow_all(self) -> None:
        """Go to the end of the way."""
        while (part := self._next()) is not None:
            self._enter(part)

    def weights(self) -> StoredWeights:
        """Return the tensors at the end of the way."""
        self._set_aside_at_the_end()
        state = OrderedDict(
            (path.removeprefix(self.prefix), tensor)
            for path, tensor in tensors_in(self.contents.below(self.prefix)).items()
            if not self._is_aside(path) and not path.endswith(PROFILED)
        )
        if not state:
            raise self.contents.no_weights()
        if metadata := {
            module.removeprefix(self.prefix).removesuffix("."): version
            for module, version in self.contents.metadata.items()
            if module.startswith(self.prefix)
        }:
            state._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]  # where torch keeps it
        try:
            scaling, doubt = self._read_scaling(), None
        except ValueError as error:
            scaling, doubt = None, str(error)
        return StoredWeights(state=state, scaling=scaling, doubt=doubt, notes=self._notes())

    def _read_scaling(self) -> StoredScaling | None:
        """Return the scaling beside the weights. Raises ValueError if it is unclear."""
        scaling = read_scaling(self.scaling)
        inner = [name for name, tensor in self.own.items() if is_scaling(name, tensor)]
        if scaling is not None and inner:
            raise ValueError(
                f"{', '.join(scaling.paths)}: beside {inner[0]} of the network itself, which would scale images "
                f"twice; {ACCEPTED}"
            )
        return scaling

    def check_nameless(self) -> None:
        """Raise ValueError for a moving average in a list: which tensor is which is not in the file."""
        for path in filter(is_average, self.contents.nameless()):
            raise ValueError(
                f"{path} holds a moving average as a list of tensors without names, beside the weights; accepted "
                f"is FILE#{self.prefix.removesuffix('.') or 'KEY'}, the weights without it, or a file with the "
                "average as a state dict"
            )

    def _next(self) -> str | None:
        """Return the next part of the way, None at its end. Raises ValueError at a fork."""
        if self._is_own():
            return None
        parts = {
            part: below
            for part, below in self.contents.parts(self.prefix).items()
            if has_tensors(below)
            and self.prefix + part not in below
            # A callback may hold a moving average under the network's names; an optimizer has none of them.
            and (self._leads_to_own(below) or not self._is_training(part))
        }
        leading = [part for part, below in parts.items() if is_wrapper(part) or self._leads_to_own(below)]
        if not leading and len(parts) == 1:
            leading = [part for part in parts if self._is_alone(part)]
        if len(leading) > 1:
            self._check_fork(leading)
        return leading[0] if leading else None

    def _is_own(self) -> bool:
        """Return True where the network's own names begin."""
        present = sum(self.prefix + name in self.contents.leaves for name in self.own)
        return bool(self.own) and present >= OWN_SHARE * len(self.own)

    def _leads_to_own(self, below: Mapping[str, Any]) -> bool:
        """Return True for a part with tensors of the network's names and shapes, however deep."""
        found = {self._own_name(path, tensor) for path, tensor in tensors_in(below).items()} - {None}
        return bool(self.own) and len(found) >= OWN_SHARE * len(self.own)

    def _own_name(self, path: str, tensor: Tensor) -> str | None:
        while path:
            if path in self.own and self.own[path].shape == tensor.shape:
                return path
            path = path.partition(".")[2]
        return None

    def _is_alone(self, part: str) -> bool:
        """Return True for a part above all tensors that is no module of the network."""
        others = self.contents.parts(self.prefix).keys() - {part}
        tensors = [other for other in others if has_tensors(self.contents.below(self.prefix + other))]
        is_module = any(name.startswith(f"{part}.") for name in self.own)
        return bool(self.own) and not is_module and all(map(self._is_training, tensors))

    def _check_fork(self, parts: Sequence[str]) -> None:
        """Raise ValueError unless all parts lead to the same tensors, as a copy in an attacker's module does."""
        states = []
        for part in parts:
            way = _Way(self.contents, self.own, f"{self.prefix}{part}.")
            way.follow_all()
            states.append(way.weights().state)
        if all(_are_equal(states[0], state) for state in states[1:]):
            return
        names = [self.prefix + part for part in parts]
        sets = " and ".join(name + " (a moving average)" * is_average(name) for name in names)
        choices = " or ".join(f"FILE#{name}" for name in names)
        raise ValueError(f"holds {len(names)} sets of weights, {sets}; accepted is {choices}")

    def _enter(self, chosen_part: str, chosen: bool = False) -> None:
        for part, below in self.contents.parts(self.prefix).items():
            if part == chosen_part or self._set_aside(part, below):
                continue
            if not chosen and not self._may_be_ignored(below):
                raise ValueError(
                    f"{self.prefix}{part} stands beside {self.prefix}{chosen_part} and may belong to the network; "
                    f"accepted is FILE#{self.prefix}{chosen_part}, which leaves it out"
                )
            self.ignored.append(self.prefix + part)
        self.prefix += f"{chosen_part}."

    def _set_aside(self, part: str, below: Mapping[str, Any]) -> bool:
        """Return True for a normaliser, which is kept, and for what takes no part in the network's logits."""
        is_known = self._is_training(part) or BESIDE.fullmatch(part)
        scaling = {
            path: leaf
            for path, leaf in below.items()
            if not is_known and is_scaling(path.removeprefix(self.prefix), leaf)
        }
        if scaling.keys() == below.keys():
            self.scaling |= below
            return True
        tensors = tensors_in(below)
        if not tensors or is_known or all(path.endswith(PROFILED) for path in tensors):
            self.scaling |= scaling  # among a script's settings
            self.ignored.append(self.prefix + part)
            return True
        return False

    def _may_be_ignored(self, below: Mapping[str, Any]) -> bool:
        """Return True for an equal copy of the weights, and for what a script stores that is no module."""
        is_module = any(path.endswith((".weight", ".bias")) for path in below)
        return self._leads_to_own(below) or (self.prefix in self.contents.dictionaries and not is_module)

    def _set_aside_at_the_end(self) -> None:
        """Set aside what stands among the network's tensors without being one of them."""
        modules = {name.partition(".")[0] for name in self.own}
        is_own = self._is_own()
        for part, below in self.contents.parts(self.prefix).items():
            if part not in modules and (is_own or not has_tensors(below) or self._is_training(part)):
                self._set_aside(part, below)

    def _is_training(self, part: str) -> bool:
        return self.prefix in self.contents.dictionaries and is_training(part)

    def _is_aside(self, path: str) -> bool:
        return any(path == part or path.startswith(f"{part}.") for part in (*self.scaling, *self.ignored))

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.prefix:
            name = self.prefix.removesuffix(".")
            notes.append(f"read from {name}" + ", a moving average" * is_average(name))
        if self.ignored:
            more = f" and {len(self.ignored) - NUM_NAMED} more" if len(self.ignored) > NUM_NAMED else ""
            notes.append(f"ignored {', '.join(self.ignored[:NUM_NAMED])}{more}")
        return tuple(notes)


def _are_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
