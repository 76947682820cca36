"""MLflow: a run of an experiment, on a tracking server or in a database file."""

import os
import re
import time
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from sweeps.notices.sink import About, Connection, End, Update

ID_TAG = "attrib_sweeps.id"
# What MLflow takes in one request, and the longest text of a parameter.
_MOST_METRICS, _MOST_PARAMS, _LONGEST = 1000, 100, 6000
_STATUS: dict[End, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
# A server that is gone is given up after seconds, not after the many minutes of MLflow's own defaults.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}


@dataclass(frozen=True, kw_only=True)
class MLflow:
    """The settings are those of `MlflowClient`, `set_experiment` and `start_run`; its environment counts too."""

    library: ClassVar[str] = "mlflow"

    tracking_uri: str | None = None
    experiment_name: str | None = None
    run_name: str | None = None

    def check(self, run: str) -> None:
        if self.tracking_uri is not None and urlsplit(self.tracking_uri).password is not None:
            raise ValueError(
                "notify: tracking_uri has a password in it, and sweep.json records the command; set "
                "MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )

    def open(self, about: About) -> Connection:
        return _Run(self, about)


class _Run:
    def __init__(self, settings: MLflow, about: About) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=settings.tracking_uri)
        name = settings.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "attrib-sweeps"
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = (
            self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        )
        found = self._client.search_runs([experiment_id], f"tags.`{ID_TAG}` = '{about.id}'", max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
        tags = {ID_TAG: about.id, "attrib_sweeps.run": about.run}
        run_name = settings.run_name or f"{about.sweep} {about.id[:8]}"
        run = found[0] if found else self._client.create_run(experiment_id, tags=tags, run_name=run_name)
        self._id = run.info.run_id
        # MLflow refuses another value of a parameter: those of the first command stay.
        new = {key: text for key, text in about.configuration.items() if key not in run.data.params}
        params = [Param(key, str(text)[:_LONGEST]) for key, text in new.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _MOST_PARAMS])

    def send(self, update: Update) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics: list[Any] = [
            Metric(_name(name), value, now, update.step) for name, value in update.values.items()
        ]
        metrics += [Metric(_name(point.name), point.value, now, point.step) for point in update.points]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + _MOST_METRICS])

    def close(self, end: End) -> None:
        self._client.set_terminated(self._id, status=_STATUS[end])


def _name(name: str) -> str:
    """Return the name with what MLflow takes in names: no `=`, and no path that leads nowhere."""
    parts = (part for part in name.split("/") if part not in ("", ".", ".."))
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", "/".join(parts))
