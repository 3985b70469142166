"""`python -m client` and `digitscope-batch`: recognises the digits in many pictures."""

import sys


def start() -> int:
    """Runs the command, or says what is to be installed first, and returns the exit status."""
    try:
        from client.command import main  # noqa: PLC0415 — what it needs is of an extra
    except ModuleNotFoundError as error:
        sys.stderr.write(f"digitscope-batch needs {error.name}: pip install 'digitscope[client]'\n")
        return 2
    return main()


if __name__ == "__main__":  # the workers of --local import it too
    sys.exit(start())
