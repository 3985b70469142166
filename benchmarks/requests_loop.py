"""Pictures one after the other, as a script of `requests` does that somebody writes in five minutes."""

import argparse
import json
import time
from pathlib import Path

import requests


def main() -> None:
    """Asks for pictures, and prints how many and in how many seconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.requests_loop", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, required=True, help="pictures, the first ones")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.png"))[: options.count]
    digits: list[int] = []
    began = time.perf_counter()
    with requests.Session() as session:
        session.trust_env = False
        for path in paths:
            answer = session.post(f"{options.url}/v1/predict", data=path.read_bytes(), timeout=30)
            answer.raise_for_status()
            digits.append(answer.json()["predictions"][0]["digit"])
    print(json.dumps({"images": len(digits), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
