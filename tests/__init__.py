"""The tests, a folder for each package."""

import os

# Some tests import ONNX Runtime before the service does, which would turn its telemetry off in time.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
