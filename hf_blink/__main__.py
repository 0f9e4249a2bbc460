"""`python -m hf_blink` is the command line, as `hf-blink` is."""

import sys

from hf_blink.cli import main

if __name__ == "__main__":
    sys.exit(main())
