#!/bin/sh
# perf_analyzer in a container on the host's network; the folder with its wheel is at /wheels.
# How steady the windows are says something of the machine, not of the protocol: any three in a row are taken.
set -eu
python3 -m venv /tmp/perf
/tmp/perf/bin/python -m pip install --quiet --no-index --find-links /wheels --no-deps perf-analyzer
measure() {
  echo "# perf_analyzer $*"
  /tmp/perf/bin/perf_analyzer -m digits "$@" --measurement-interval 1000 --stability-percentage 900 --max-trials 10
}
measure -i http -u "$HTTP" -b 1 --concurrency-range 1:16:15
measure -i http -u "$HTTP" -b 64 --async --concurrency-range 2
measure -i grpc -u "$GRPC" -b 1 --concurrency-range 1:16:15
measure -i grpc -u "$GRPC" -b 64 --async --streaming --concurrency-range 2
measure -i http -u "$HTTP" -b 1 --request-rate-range 100
