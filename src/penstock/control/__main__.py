"""`python -m penstock.control`: the control process, started by a node."""

import sys

from penstock.telemetry.parent import heed


def run() -> int:
    """Be the process; from the first moment on, it ends with the node."""
    heed(sys.argv)
    from penstock.control.process import main  # takes a while, in which the node may end

    return main()


sys.exit(run())
