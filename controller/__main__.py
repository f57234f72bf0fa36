"""`python -m dvfo_controller` is `dvfo-controller`."""

import sys

from dvfo_controller.main import main

sys.exit(main())
