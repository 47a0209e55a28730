"""`python -m router`."""

import sys

from router.workers.main import main

sys.exit(main())
