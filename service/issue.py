"""`python -m service keys new`: makes an API key."""

import argparse
import sys
from collections.abc import Sequence

from service.keys import new_key, written


def issue(arguments: Sequence[str]) -> int:
    """Makes a key: its line for the file of keys goes to standard output, and the key itself to standard error.

    Returns the exit status, 0 or 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m service keys",
        description="Makes an API key. The line that is printed goes into the file of --api-keys, such as by >> keys; "
        "the key itself, which is told once and kept nowhere, goes to whoever is to use it.",
    )
    new = parser.add_subparsers(required=True, metavar="new").add_parser("new", help="make a key")
    new.add_argument("name", help="whose it is, for the logs: letters, digits and ._-")
    new.add_argument(
        "--scopes",
        default="predict,inspect",
        help="what it is for, of predict, inspect, metrics and admin (default: %(default)s)",
    )
    new.add_argument(
        "--rate", type=float, help="requests a second, and as many at once after a pause (default: no limit)"
    )
    chosen = parser.parse_args(arguments)
    key = new_key()
    try:
        line = written(chosen.name, chosen.scopes.split(","), chosen.rate, key)
    except ValueError as error:
        print(f"service: {error}", file=sys.stderr)
        return 2
    print(line, flush=True)
    print(f"the key of {chosen.name}, told only now:\n{key}", file=sys.stderr)
    return 0
