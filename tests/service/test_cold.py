"""The service stands alone: in a fresh process it serves with neither torch nor the training package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.serving import DATA, MODELS, ROOT

_ALONE = """
import json, sys, threading, time, urllib.request

class Refuse:
    \"\"\"Makes an import of what the service must not need fail, as where it is not installed.\"\"\"
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "training", "onnx", "matplotlib", "scipy", "httpx", "tests"}:
            raise ModuleNotFoundError(f"{name} is refused")

sys.meta_path.insert(0, Refuse())
import uvicorn
from service.app import create_app
from service.settings import Settings

app = create_app(Settings(models=sys.argv[1], provider="cpu"))
server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    assert thread.is_alive()
    time.sleep(0.01)
url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
picture = open(sys.argv[2], "rb").read()
answers = [json.load(ask(f"{url}/v1/predict", picture))["predictions"][0]["digit"]]
answers.append(ask(f"{url}/v1/features?layer=all", picture).headers["Content-Type"])
answers.append(json.load(ask(f"{url}/v2/health/ready"))["ready"])
server.should_exit = True
thread.join()
loaded = sorted({"torch", "training", "onnx"} & {name.partition(".")[0] for name in sys.modules})
print(json.dumps({"answers": answers, "loaded": loaded}))
"""


def _fresh(code: str, *arguments: object, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603


def test_the_service_runs_without_torch_and_training() -> None:
    """With imports of torch, of the training package and of onnx made to fail, it starts, predicts and looks inside."""
    done = _fresh(_ALONE, MODELS, DATA / "seven.png")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"answers": [7, "image/png", True], "loaded": []}


@pytest.mark.parametrize("module", ["torch", "training"])
def test_the_blocker_blocks(module: str) -> None:
    """The proof above can fail: the same process is refused what it must not import."""
    blocker = _ALONE.partition("import uvicorn")[0]
    done = _fresh(f"{blocker}\nimport {module}")
    assert done.returncode == 1 and f"ModuleNotFoundError: {module} is refused" in done.stderr


def test_importing_the_application_does_no_work(tmp_path: Path) -> None:
    """Where there is no model, and nothing to read or write, the application is imported and made all the same."""
    code = "import sys; sys.path[0] = sys.argv[1]; import service.app as a; a.create_app(a.Settings()); print('made')"
    done = _fresh(code, ROOT, folder=tmp_path)
    assert done.stdout == "made\n", done.stderr
    assert list(tmp_path.iterdir()) == []
