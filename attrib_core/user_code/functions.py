"""A user's function as it is called: what goes wrong in it names the user's file and line."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attrib_core.errors import in_one_line
from attrib_core.execution import is_device_failure
from attrib_core.user_code.targets import failed_line

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class UserFunction:
    """A function, how errors name it (`methods='mine.py:square'`), and the signature that it should have."""

    value: Callable[..., Any]
    where: str
    contract: str

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Call the function. Raises ValueError with the line that failed, unless the machine failed."""
        try:
            return self.value(*arguments, **settings)
        except Exception as error:  # a user's function may raise anything
            if is_device_failure(error):
                raise
            line = failed_line(error, self._file)
            raise ValueError(
                f"{self.place(line)} fails: {in_one_line(error)}; accepted is {self.contract}"
            ) from error

    def place(self, line: int | None = None) -> str:
        """Return the words for a line of the function, or for its first one."""
        number = line or getattr(self._code, "co_firstlineno", None)
        return f"{self.where}: {self._file}" + ("" if number is None else f", line {number},")

    def positional(self) -> tuple[inspect.Parameter, ...]:
        """Return the parameters that may be given without their name."""
        return tuple(each for each in self._parameters() if each.kind in _POSITIONAL)

    @property
    def takes_any_number(self) -> bool:
        """True if it has `*arguments`, or if nobody can say what it takes."""
        return any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in self._parameters())

    def signature(self) -> str:
        """Return its parameters in words."""
        return f"({', '.join(str(each) for each in self._parameters())})"

    @property
    def _code(self) -> Any:
        return getattr(inspect.unwrap(self.value), "__code__", None)

    @property
    def _file(self) -> str:
        if self._code is None:
            return f"a {type(self.value).__name__}"
        return Path(self._code.co_filename).name

    def _parameters(self) -> tuple[inspect.Parameter, ...]:
        try:
            return tuple(inspect.signature(self.value).parameters.values())
        except (TypeError, ValueError):  # hidden, as in code that is compiled
            return (inspect.Parameter("any", inspect.Parameter.VAR_POSITIONAL),)
