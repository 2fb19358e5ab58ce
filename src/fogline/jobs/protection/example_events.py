"""What devices that train by DP-SGD tell of one of their examples, for accountants."""

from __future__ import annotations

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.planning import local_training
from fogline.privacy.accounting.events import Event
from fogline.training.example_privacy import event_of


def example_events_of(job: Job, examples: int, times: int) -> tuple[Event, ...]:
    """What a device's local rounds tell of one of its examples.

    The fewer a device has, the more often each is drawn. Which examples a step takes is drawn on the device and known
    to nobody else, so that it counts as protection; that only some devices are asked does not.

    Args:
        job: that protects examples, with the method's and the model's own settings.
        examples: that the device has, at least 1.
        times: how often it trains.

    Raises:
        JobError: the job does not protect examples.
    """
    local = local_training(job)
    if local.privacy is None:
        raise JobError("The job protects no single examples (privacy.unit), so that there is nothing to be counted.")
    steps = local.step_count(examples, max(job.local.work or (1.0,)))
    return (event_of(local.privacy, examples, local.batch_size, steps * times),) if times else ()
