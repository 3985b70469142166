"""The machine that measures: its processor, memory, kernel, Python and the packages that matter."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "digitscope",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "onnxruntime",
    "numpy",
    "pillow",
    "orjson",
)


def describe_machine() -> dict[str, str]:
    """What a reader has to know of the machine."""
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "CPUs used": ", ".join(map(str, sorted(os.sched_getaffinity(0)))) + f" of {os.cpu_count()}",
        "memory": f"{int(_field(Path('/proc/meminfo'), 'MemTotal').split()[0]) / 2**20:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe_packages() -> dict[str, str]:
    """The versions of what this service runs on; the peers' stand in their requirements.txt."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _field(path: Path, name: str) -> str:
    """The first value of that name in a file of lines such as 'name : value'."""
    for line in path.read_text().splitlines():
        key, _, text = line.partition(":")
        if key.strip() == name:
            return text.strip()
    return "unknown"
