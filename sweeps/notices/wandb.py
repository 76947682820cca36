"""Weights & Biases: a run of a project, on its server, or offline in a folder that `wandb sync` uploads."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from sweeps.notices.sink import About, Connection, End, Update

SHARDS, TRAINING = "committed_shards", "training/step"
_EXIT_CODE: dict[End, int] = {"finished": 0, "failed": 1, "interrupted": 130}
_LOGIN_TIMEOUT = 30.0
# In a process without a terminal, so that nothing is asked there. Offline, there is nobody to log in to.
_LOGIN = "import wandb; wandb.setup().settings.mode == 'online' and wandb.login(verify=False)"


@dataclass(frozen=True, kw_only=True)
class WandB:
    """The settings are those of `wandb.init`; its environment variables count too."""

    library: ClassVar[str] = "wandb"

    project: str = "attrib-sweeps"
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    name: str | None = None
    dir: str | None = None
    mode: Literal["online", "offline", "disabled", "shared"] | None = None

    def check(self, run: str) -> None:
        if self.mode in ("offline", "disabled"):
            return
        login = _LOGIN if self.mode is None else "import wandb; wandb.login(verify=False)"
        if not _can_log_in(login):
            raise ValueError(
                "notify: wandb has no key for its server; set WANDB_API_KEY, log in with `wandb login`, or say "
                "wandb:mode=offline, whose folder `wandb sync` uploads later"
            )

    def open(self, about: About) -> Connection:
        return _Run(self, about)


def _can_log_in(code: str) -> bool:
    """Return whether W&B finds a key, in the environment or where `wandb login` writes it; it contacts nobody."""
    with tempfile.TemporaryDirectory() as folder:
        # W&B logs to ./wandb, which a command that is refused must not make; settings may be in one that is there.
        elsewhere = {} if Path("wandb").exists() else {"WANDB_DIR": folder}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LOGIN_TIMEOUT,
                env=os.environ | elsewhere,
            )
        except subprocess.TimeoutExpired:
            return True  # a slow disk; the run itself has a limit of its own
    return done.returncode == 0


class _Run:
    def __init__(self, settings: WandB, about: About) -> None:
        import wandb

        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            job_type=settings.job_type,
            name=settings.name,
            dir=settings.dir,
            mode=settings.mode,
            id=about.id,
            resume="allow",
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )
        self._run.config.update(about.configuration, allow_val_change=True)  # type: ignore[no-untyped-call]
        # W&B's own clock counts its messages; ours are what charts are to be drawn over.
        for clock, names in ((SHARDS, "*"), (TRAINING, "training_loss/*"), (TRAINING, "panel_accuracy/*")):
            self._run.define_metric(clock)
            self._run.define_metric(names, step_metric=clock)

    def send(self, update: Update) -> None:
        values: dict[str, Any] = {SHARDS: update.step}
        self._run.log(update.values | values)
        for point in update.points:
            self._run.log({TRAINING: point.step, point.name: point.value})

    def close(self, end: End) -> None:
        self._run.finish(exit_code=_EXIT_CODE[end])
