"""The service's engine by each runtime and precision, in turns in one process: prints JSON, CPU time an image.

Batches of one size again and again are what a runtime likes best. What a server hands it are batches of all sizes, so
there is a load of those too: sizes from 1 to 32, all alike often.
"""

import contextlib
import json
import random
import time
from functools import partial

from benchmarks.digits import digits, model_folder
from service.engine import Engine
from service.errors import ProviderError
from service.manifest import Faster, load_manifest, load_model
from service.openvino import installed

TURNS = 40
LOADS = {
    **{str(size): (size,) for size in (1, 2, 4, 8, 16, 32, 256)},
    "1 to 32, mixed": tuple(random.Random(1).choices(range(1, 33), k=24)),  # noqa: S311 — the same ones every time
}
_IMAGES = 400  # of one engine in a turn, about


def engines() -> dict[str, Engine]:
    """Each that this machine has, on one thread."""
    folder = model_folder()
    manifest = load_manifest(folder)
    open_with = partial(Engine, load_model(folder, manifest), manifest, provider="cpu", threads=1)
    int8: tuple[Faster, bytes] = ("int8", load_model(folder, manifest, "int8"))
    found = {"float32": open_with(), "int8": open_with(variant=int8)}
    if installed():
        found["float32, OpenVINO"] = open_with(runtime="openvino")
        found["int8, OpenVINO"] = open_with(runtime="openvino", variant=int8)
        with contextlib.suppress(ProviderError):  # the CPU has none
            found["bfloat16, OpenVINO"] = open_with(runtime="openvino", bfloat16=True)
    return found


def measure(turns: int = TURNS) -> dict[str, dict[str, list[float]]]:
    """Microseconds of CPU time an image by load and engine, one of each turn."""
    compared = engines()
    images = digits(256)[:, None]
    found: dict[str, dict[str, list[float]]] = {}
    for load, sizes in LOADS.items():
        found[load] = {name: [] for name in compared}
        batches = [images[:size] for size in sizes] * max(1, _IMAGES // sum(sizes))
        for turn in range(turns + 1):
            for name, engine in compared.items():
                engine.predict(batches[0])  # what the one before it has left in the cache is no part of it
                start = time.process_time()
                for batch in batches:
                    engine.predict(batch)
                if turn:  # the first turn warms
                    found[load][name].append((time.process_time() - start) / sum(map(len, batches)) * 1e6)
    return found


if __name__ == "__main__":
    print(json.dumps(measure()))
