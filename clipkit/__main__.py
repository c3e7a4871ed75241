"""``python -m clipkit``, and what the ``clipkit`` command calls."""

import atexit
import gc
import os
import sys

_SHORT_COMMANDS = ("search", "classify", "serve")  # matrix products of less than a millisecond


def main() -> int:
    """Run the command line; Ctrl-C ends it quietly also while it is being imported.

    Returns:
        The exit status.
    """
    # What is imported stays: to look for garbage in it takes 5 % of a query. Collection is
    # resumed when the command runs.
    gc.disable()
    if sys.argv[1:] and sys.argv[1] in _SHORT_COMMANDS:
        # NumPy's library starts a thread a core when it is loaded, and the first product waits for
        # them: a fifth of a query where another process has the cores.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    statuses: list[int] = []
    atexit.register(_end, statuses)  # the first that is registered is the last that is called
    try:
        from clipkit.cli.main import main as run

        status = run()
    except KeyboardInterrupt:
        sys.stderr.write("clipkit: interrupted\n")
        status = 130
    statuses.append(status)
    return status


def _end(statuses: list[int]) -> None:
    """End the process without taking the interpreter apart, which is 10 % of a query.

    All else has been done: threads have ended, and whatever is to happen at exit has happened.

    Args:
        statuses: The exit status; empty if `main` was left by an exception, as --help does.
    """
    if not statuses:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # the interpreter says what is wrong
        return
    os._exit(statuses[0])


if __name__ == "__main__":
    sys.exit(main())
