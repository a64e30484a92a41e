"""`python -m ticker`."""

import signal
import sys

# Until the server has its own handler, Ctrl-C just ends the process: a traceback out of an import helps nobody.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from ticker.cli import main

if __name__ == "__main__":
    sys.exit(main())
