"""Pictures one after the other, as a script does that somebody writes in five minutes: what `requests` would do too."""

import argparse
import json
import time
from pathlib import Path

import httpx


def main() -> None:
    """Asks for pictures, and prints how many and in how many seconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.httpx_loop", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, required=True, help="pictures, the first ones")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.png"))[: options.count]
    began = time.perf_counter()
    with httpx.Client(base_url=options.url, trust_env=False) as client:
        digits = [
            client.post("/v1/predict", content=path.read_bytes()).raise_for_status().json()["predictions"][0]["digit"]
            for path in paths
        ]
    print(json.dumps({"images": len(digits), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
