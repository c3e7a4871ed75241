"""``python -m clipkit``, and what the ``clipkit`` command calls."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C ends it quietly also while it is being imported.

    Returns:
        The exit status.
    """
    try:
        from clipkit.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("clipkit: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
