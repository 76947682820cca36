"""What was found by a reference is kept, as long as the code is the same."""

from collections.abc import Callable, Hashable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from attrib_core.user_code.snapshots import state_of_code

Parameters = ParamSpec("Parameters")
Found = TypeVar("Found")


def kept_with_code(find: Callable[Parameters, Found]) -> Callable[Parameters, Found]:
    """Decorate a function of references, so that it works once for each, and again when code has changed."""
    kept: dict[object, tuple[object, Found]] = {}

    @wraps(find)
    def kept_or_found(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Found:
        key = args, tuple(kwargs.items()), Path.cwd()  # where a file without a path is looked for
        if not all(isinstance(each, Hashable) for each in args):
            return find(*args, **kwargs)  # it is no reference, and an error
        state, found = kept.get(key, (None, None))
        if found is None or state != state_of_code():
            found = find(*args, **kwargs)
            kept[key] = state_of_code(), found  # the state afterwards: to find is to take a file
        return found

    return kept_or_found
