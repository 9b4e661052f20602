"""`python -m penstock.gateway`: one gateway worker, started by a node."""

import sys

from penstock.telemetry.parent import heed


def run() -> int:
    """Be the process; from the first moment on, it ends with the node."""
    heed(sys.argv)
    from penstock.gateway.worker import main  # takes a while, in which the node may end

    return main()


sys.exit(run())
