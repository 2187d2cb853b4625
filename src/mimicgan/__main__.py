"""``python -m mimicgan``."""

import sys

from mimicgan.cli import main

if __name__ == "__main__":
    sys.exit(main())
