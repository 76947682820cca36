"""All that a checkpoint holds, by path: a dictionary's keys and the parts of a tensor's name, joined by dots."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from attrib_core.classifiers.pickled_objects import StoredNamespace

LONGEST = 1000  # dictionaries in a list that is looked into
DEEPEST = 20  # dictionaries within dictionaries


class Contents:
    """What a file holds: `{"state_dict": {"module.fc.bias": ...}}` has the leaf `state_dict.module.fc.bias`."""

    def __init__(self, content: Any) -> None:
        self.leaves: dict[str, Any] = {}
        self.dictionaries: set[str] = set()  # prefixes whose next parts are a script's keys, not modules
        self.metadata: dict[str, Any] = {}  # versions of the tensors' format, by the module's prefix
        self.description = type(content).__name__
        if (content := _opened(content)) is not None:
            self.description = f"a mapping of {list(content)[:5]}"
            self._add(content, "", 0)
        if not has_tensors(self.leaves):
            raise self.no_weights()

    def no_weights(self) -> ValueError:
        lists = "".join(
            f"; {path} is a list of tensors without names; accepted is a state dict with them"
            for path in self.nameless()[:1]
        )
        return ValueError(f"holds no state dict of tensors but {self.description}{lists}")

    def nameless(self) -> list[str]:
        """Return the paths of lists that hold a network's tensors without their names."""
        return [path for path, leaf in self.leaves.items() if _is_nameless(leaf)]

    def below(self, prefix: str) -> dict[str, Any]:
        """Return the leaves whose paths start with a prefix."""
        return {path: leaf for path, leaf in self.leaves.items() if path.startswith(prefix)}

    def parts(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the leaves under each next part of the paths after a prefix."""
        parts: dict[str, dict[str, Any]] = {}
        for path, leaf in self.below(prefix).items():
            parts.setdefault(path[len(prefix) :].partition(".")[0], {})[path] = leaf
        return parts

    def script_keys(self) -> list[str]:
        """Return the paths of a script's keys that have tensors under them."""
        paths = sorted(prefix + part for prefix in self.dictionaries for part in self.parts(prefix))
        return [path for path in paths if has_tensors(self.below(f"{path}."))]

    def _add(self, mapping: Mapping[Any, Any], prefix: str, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError(f"{prefix[:40]}...: dictionaries within dictionaries, more than {DEEPEST}")
        if not any("." in str(key) for key in mapping):
            self.dictionaries.add(prefix)
        for module, version in getattr(mapping, "_metadata", {}).items():
            self.metadata[f"{prefix}{module}." if module else prefix] = version
        for key, value in mapping.items():
            path = f"{prefix}{key}"
            if path in self.leaves:
                raise ValueError(f"{path}: stands there twice")
            if inner := _opened(value):
                self._add(inner, f"{path}.", depth + 1)
            else:
                self.leaves[path] = value


def _opened(value: Any) -> Mapping[Any, Any] | None:
    """Return the mapping that a value is, or reads as: settings in a namespace, dictionaries in a list."""
    if isinstance(value, StoredNamespace):
        return value.settings
    if isinstance(value, list | tuple) and len(value) <= LONGEST and any(_opened(each) for each in value):
        return dict(enumerate(value))
    return value if isinstance(value, Mapping) else None


def _is_nameless(leaf: Any) -> bool:
    return isinstance(leaf, list | tuple) and any(isinstance(each, Tensor) and each.ndim > 1 for each in leaf)


def has_tensors(leaves: Mapping[str, Any]) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in leaves.values())


def tensors_in(leaves: Mapping[str, Any]) -> dict[str, Tensor]:
    return {path: leaf for path, leaf in leaves.items() if isinstance(leaf, Tensor)}
