"""The child process that reads a build before a gate opens it: see `check`."""

import sys

from firmware.catalogue.check import main

sys.exit(main(sys.argv[1:]))
