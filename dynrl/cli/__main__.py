"""`python -m dynrl.cli` is `dynrl`."""

import sys

from dynrl.cli import main

sys.exit(main())
