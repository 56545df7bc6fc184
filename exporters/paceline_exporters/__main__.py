"""`python -m paceline_exporters` is `paceline`: for callers that know an interpreter, but no PATH."""

import sys

from .cli import main

sys.exit(main())
