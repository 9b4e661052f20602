"""`python -m penstock.gateway`: one gateway worker, started by a node."""

import sys

from penstock.gateway.worker import main

sys.exit(main())
