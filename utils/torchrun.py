#!/usr/bin/env python3
"""torchrun (`python -m torch.distributed.run`) as utils/launch.sh starts it: it stops and fails with a line at most.

Its own traceback would stand at the end of a log, where one looks for what the program said; and a second signal, which
a scheduler that signals all processes of a job sends along with the launcher's, would cut short what the first began.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from torch.distributed.elastic.multiprocessing import api
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

_handler = api._terminate_process_handler


def _once(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(other, signal.SIG_IGN)
    _handler(number, frame)


if __name__ == "__main__":
    api._terminate_process_handler = _once
    try:
        main()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"launch.sh: process {rank} failed (exit code {failure.exitcode}); no restart is left", file=sys.stderr)
        sys.exit(1)
    except api.SignalException as stopped:
        sys.exit(128 + stopped.sigval)
