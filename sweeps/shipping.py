"""The user's own code on its way to the workers: each installs it before it builds anything."""

from collections.abc import Callable
from functools import partial
from typing import Any

from attrib_core.user_code import Code, install, taken
from cluster.pool import Job, JobFactory


def with_code(factory: JobFactory) -> JobFactory:
    """Return a factory that first makes the code available that this process has taken.

    What actors share is unpickled before that, so it holds references as text, never objects of a user's classes.
    """
    return partial(_build, taken(), factory)


def with_code_before(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function without arguments that first makes the code available, for actors that Ray Tune builds."""
    return partial(_call, taken(), call)


def _call(codes: tuple[Code, ...], call: Callable[[], None]) -> None:
    install(codes)
    call()


def _build(codes: tuple[Code, ...], factory: JobFactory, shared: Any) -> Job:
    install(codes)
    return factory(shared)
