"""The user's own code on its way to the workers: each installs it before it builds anything."""

from functools import partial
from typing import Any

from attrib_core.user_code import Code, install, taken
from cluster.pool import Job, JobFactory


def with_code(factory: JobFactory) -> JobFactory:
    """Return a factory that first makes the code available that this process has taken.

    What actors share is unpickled before that, so it holds references as text, never objects of a user's classes.
    """
    return partial(_build, taken(), factory)


def _build(codes: tuple[Code, ...], factory: JobFactory, shared: Any) -> Job:
    install(codes)
    return factory(shared)
