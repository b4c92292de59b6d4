"""`python -m kaosd.ctl`."""

import sys

from kaosd.ctl import main

sys.exit(main())
