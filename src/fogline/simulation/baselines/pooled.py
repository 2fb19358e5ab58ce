"""The baseline above: everybody's data in one place."""

from __future__ import annotations

from fogline.algorithms import FedAvg
from fogline.data import FederatedData
from fogline.jobs.planning import planner
from fogline.monitoring.record import Baseline, Row
from fogline.simulation.baselines.base import BASELINES, FinishedRun, moved
from fogline.training.local import ClientJob
from fogline.user_code.bugs import PROGRAMMING, CodeError, attempt, blame


@BASELINES.add("pooled")
def pooled(run: FinishedRun) -> Baseline:
    """One model on all devices' data in one place: what federation costs.

    For each round of the run it makes as many gradient steps as the devices made together in that round, one after the
    other, at that round's learning rate. What the optimizer remembers ends with the round, as it does on devices.
    """
    setting = run.setting
    task = setting.task
    data, left_out, reason = _gathered(task.data)
    plan = planner(setting.job, data, FedAvg())
    model, curve = setting.initial, list[Row]()
    with run.trainer(task.on(data), together=False) as trainer:
        for index, (row, steps) in enumerate(zip(run.history, run.steps, strict=True)):
            if steps:
                planned = plan(0, index, index)
                work = ClientJob(0, model.vector, model.counters, steps, planned.learning_rate, planned.seed)
                (done,) = trainer.run([work])
                if done.failure is not None:
                    why = f"round {row['round']:.0f}: {done.failure}"
                    return Baseline("pooled", 0, len(run.steps), {}, failures=1, reason=why)
                model = moved(model, done)
            if task.headline in row:
                curve.append({"round": row["round"], "seconds": row["seconds"]} | run.judged(model))
    return Baseline(
        "pooled",
        sum(run.steps),
        len(run.steps),
        run.judged(model),
        held_out=run.judged_on_held_out(model),
        history=curve,
        failures=left_out,
        reason=reason,
    )


def _gathered(data: FederatedData) -> tuple[FederatedData, int, str]:
    """All clients' data in one place; how many could not be loaded, as in the run, and why the first could not.

    Raises:
        CodeError: the code that loads them is wrong, or none can be loaded.
    """
    everybody = range(len(data.clients))
    whole = attempt(lambda: data.pooled(everybody))
    if not isinstance(whole, Exception):
        return whole, 0, ""
    able: list[int] = []
    reason = ""
    for client in everybody:
        examples = attempt(lambda client=client: data.at(client))
        if not isinstance(examples, Exception):
            able.append(client)
            continue
        wrong = blame("loading its data", examples).at(f"Client '{data.clients[client]}'")
        if isinstance(examples, (CodeError, *PROGRAMMING)):
            raise wrong
        reason = reason or str(wrong)
    if not able:
        raise CodeError(reason)
    return data.pooled(able), len(everybody) - len(able), reason
