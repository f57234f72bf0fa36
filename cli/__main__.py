"""`python -m dvfo_cli`: the same as the console script `dvfo`."""

from __future__ import annotations

import sys

from dvfo_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
