"""`python -m penstock.control`: the control process, started by a node."""

import sys

from penstock.control.process import main

sys.exit(main())
