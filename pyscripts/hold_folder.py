#!/usr/bin/env python3
"""Hold a folder for the script that calls this, until that script ends or kills the process whose number is printed.

Another holder is refused by name, as `ser.base.lock` describes. Returns at once; a child process goes on holding.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from ser.base.errors import run_main
from ser.base.lock import FolderLock
from ser.base.processes import is_running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to hold")
    parser.add_argument("doing", help="what is done in it, for the refusal: 'is being written'")
    args = parser.parse_args()
    script, (reading, writing) = os.getppid(), os.pipe()
    if (child := os.fork()) == 0:
        hold(args.folder, args.doing, script, writing)
        os._exit(0)
    os.close(writing)
    refusal = os.read(reading, 1 << 16)
    if refusal != b"held":
        sys.exit(refusal.decode() or 1)
    print(child)


def hold(folder: Path, doing: str, script: int, answer: int) -> None:
    """Hold a folder on a script's behalf while it runs; answer `held`, or why not, to who waits for that."""
    os.setsid()  # a Ctrl-C is for the script, which may have work to finish
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        lock = FolderLock(folder, doing, script)
        with lock:
            os.write(answer, b"held")
            os.close(answer)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):  # a pipe that the script writes to must end with it
                os.dup2(nothing, stream)
            while is_running(script):
                time.sleep(0.5)
    except SystemExit:
        pass
    except Exception as error:
        os.write(answer, f"{os.path.basename(sys.argv[0])}: error: {error}".encode())


if __name__ == "__main__":
    run_main(main)
