"""MLflow."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from fogline.jobs import Job
from fogline.monitoring.trackers.base import TRACKERS, Tracker, TrackerError, settings_of

EXPERIMENT = "fogline"


@TRACKERS.add("mlflow", "MLflow: a run at a tracking server.")
class MlflowTracker(Tracker):
    """Writes a run at a tracking server (``http://HOST:PORT``), in the experiment ``fogline``."""

    name = "MLflow"

    def __init__(self, where: str) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        super().__init__(where)
        self.failures = (OSError, MlflowException)
        self._client = MlflowClient(where)
        self._metric, self._param = Metric, Param
        self._run_id = ""

    def begin(self, job: Job) -> None:
        """See :class:`Tracker`; the job's settings are parameters of the run, and a tag as a whole."""
        params = [self._param(key, value) for key, value in parameters(job).items()]
        try:
            with _soon():
                found = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
            self._run_id = str(self._client.create_run(experiment, run_name=job.name).info.run_id)
            self._client.log_batch(self._run_id, params=params)
            self._client.set_tag(self._run_id, "fogline.job", settings_of(job))
        except self.failures as error:
            raise TrackerError(f"MLflow does not answer at {self.where}: {str(error).splitlines()[0]}") from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        now = int(1000 * time.time())
        self._client.log_batch(self._run_id, [self._metric(name, value, now, step) for name, value in values.items()])

    def end(self, finished: bool) -> None:
        """See :class:`Tracker`."""
        self._client.set_terminated(self._run_id, "FINISHED" if finished else "KILLED")


@contextmanager
def _soon() -> Generator[None]:
    """Have MLflow say soon that nobody answers, unless its own variable says how often it tries: by default it goes on
    for four minutes, in which whoever mistyped an address would see nothing."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES as RETRIES

    if RETRIES.is_set():
        yield
        return
    RETRIES.set(1)
    try:
        yield
    finally:
        RETRIES.unset()


def parameters(job: Job) -> dict[str, str]:
    """What a person compares runs by."""
    own = {f"algorithm.{key}": str(value) for key, value in job.algorithm.parameters.items()}
    local = {f"local.{key}": str(value) for key, value in job.local.model_dump(exclude_none=True).items()}
    tiers = " / ".join(f"{name} {tier.count}" for name, tier in job.tree.tiers.items())
    return {
        "algorithm": job.algorithm.name,
        **own,
        **local,
        "rounds": str(job.rounds),
        "seed": str(job.seed),
        "tree": tiers,
    }
