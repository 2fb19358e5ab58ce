"""The worker process: ``python -m fogline.network.worker.program FD``.

It ends when the node closes its end of the socket. What foreign code prints goes to the job's log.
"""

from __future__ import annotations

import logging
import socket
import sys

from fogline import logs
from fogline.inference.runtimes.base import ModelError
from fogline.network.worker.job_worker import JobWorker
from fogline.network.worker.requests import REQUESTS, Answer, Open, Request, RequestFailed
from fogline.processes.child import channel_to_parent, restrain
from fogline.processes.pipe import BlockingPipe
from fogline.user_code.bugs import PROGRAMMING, CodeError, blame
from fogline.user_code.loading import loading_of

log = logging.getLogger("fogline.worker")


def serve(channel: socket.socket) -> None:
    """Answer requests until the node closes its end. What foreign code prints meanwhile goes to the log."""
    logs.write_logs(sys.__stderr__)
    sys.stdout, sys.stderr = logs.Printed(sys.stdout, logging.INFO), logs.Printed(sys.stderr, logging.WARNING)
    pipe = BlockingPipe(channel, REQUESTS)
    worker: JobWorker | None = None
    job = ""
    request: Request
    for request in pipe:
        logs.begin(job, getattr(getattr(request, "effect", None), "round", -1) + 1)
        # Whatever foreign code raises is an answer, not the end of the process: the node tells its parent.
        try:
            if isinstance(request, Open):
                job = request.job
                logs.speak_for(request.node)
                logs.begin(job)
                restrain(request.limits.niceness, request.limits.memory)
                worker = JobWorker(request)
                answer: Answer = worker.open()
            else:
                assert worker is not None
                answer = worker.answer(request)
        except (ValueError, ModelError, MemoryError, OSError) as error:
            answer = RequestFailed(str(blame("", error) if loading_of(error) else error) or type(error).__name__)
        except CodeError as error:
            log.exception("a request failed: %s", type(request).__name__)
            answer = RequestFailed(str(error), bug=True, line=error.line)
        except (Exception, SystemExit) as error:
            log.exception("a request failed: %s", type(request).__name__)
            # Code that does not fit together, or wants to end the process, does so on any other worker too.
            answer = RequestFailed(
                f"{type(error).__name__}: {error}", bug=isinstance(error, (*PROGRAMMING, SystemExit))
            )
        sys.stdout.flush()
        sys.stderr.flush()
        pipe.answer(answer)


def main() -> None:
    """The program."""
    with channel_to_parent() as channel:
        serve(channel)


if __name__ == "__main__":
    main()
