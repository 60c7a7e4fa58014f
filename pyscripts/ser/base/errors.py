"""Errors a user can mend, and the one place that turns them into a message and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


class SerError(Exception):
    """Bad input or a bad environment; the message names the file and the remedy."""


def run_main(main: Callable[[], None]) -> None:
    """Call `main` and exit 1 with one `error:` line, no traceback, on anything a user can mend.

    `SerError` is printed as it is. `OSError` (a missing file, a full disk, a folder that cannot be written) is
    printed with the file it names. Programming errors keep their traceback.
    """
    program = os.path.basename(sys.argv[0])
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head` closed our output: not an error, and nothing more can be printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SerError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        print(f"{program}: error: {name}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
