"""``python -m counterpoise``, and the command ``counterpoise``."""

import signal
import sys


def run() -> int:
    """Run the command of ``sys.argv``; Ctrl-C ends it quietly, also while modules are imported."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.main import main

    signal.signal(signal.SIGINT, handler)
    status = main()
    if handler is signal.default_int_handler:  # nothing is left to be stopped
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


if __name__ == "__main__":
    sys.exit(run())
