"""The entry of `tastegraph` and `python -m orchestration`: awaits Ctrl-C, then loads the rest."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # by Ctrl-C, as typer exits


def main() -> None:
    """Run the command line; who stops it gets one line and exit code 130."""
    try:
        from orchestration.command_line import main as run  # takes a while

        run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        code = INTERRUPTED
    else:
        return
    print("stopped: what is done stays; run again to go on", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
