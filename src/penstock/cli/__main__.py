"""`python -m penstock.cli`, and what the script `penstock` calls: the command line, from its very first moment."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being loaded ends in one sentence, too."""
    try:
        from penstock.cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
