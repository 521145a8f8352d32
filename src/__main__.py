"""`python -m ingot`: the `ingot` command."""

import sys

from .cli import main

sys.exit(main())
