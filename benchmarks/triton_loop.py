"""Pictures by tritonclient's asynchronous calls. It runs in the environment of that client, which has nothing of ours.

The Open Inference Protocol takes tensors and no pictures, so that each is decoded here, and as it is: 28×28 bright ink
on black. What the service does for a picture of any kind is left out.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http.aio as triton
from PIL import Image

_AT_ONCE = 16  # requests


def _requests(paths: list[Path], batch: int) -> Iterator[Any]:
    for start in range(0, len(paths), batch):
        images = np.stack([np.asarray(Image.open(path), np.uint8)[None] for path in paths[start : start + batch]])
        tensor = triton.InferInput("image", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        yield [tensor]


async def _ask(address: str, paths: list[Path], batch: int) -> int:
    waiting = _requests(paths, batch)
    counts = []
    async with triton.InferenceServerClient(address, conn_limit=_AT_ONCE) as client:

        async def work() -> None:
            for given in waiting:
                wanted = [triton.InferRequestedOutput("probabilities")]
                answer = await client.infer("digits", given, outputs=wanted)
                counts.append(len(answer.as_numpy("probabilities").argmax(axis=1)))

        await asyncio.gather(*[work() for _ in range(_AT_ONCE)])
    return sum(counts)


def main() -> None:
    """Asks for pictures, and prints how many and in how many seconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triton_loop", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address", required=True, help="host and port")
    parser.add_argument("--count", type=int, required=True, help="pictures, the first ones")
    parser.add_argument("--batch", type=int, default=1, help="pictures a request")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.png"))[: options.count]
    began = time.perf_counter()
    images = asyncio.run(_ask(options.address, paths, options.batch))
    print(json.dumps({"images": images, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
