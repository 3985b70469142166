"""`python -m client`: recognises the digits in many pictures."""

import sys

from client.command import main

if __name__ == "__main__":  # the workers of --local import it too
    sys.exit(main())
