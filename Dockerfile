# Two targets: `cpu`, the default, and `gpu`. The environment is built in one stage and copied into another, so that no
# compiler, no pip and no cache of a build stays behind.
# Where a registry can be asked, by digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PATH=/opt/build/bin:$PATH
COPY deploy/locks locks
RUN python3 -m venv /opt/build && pip install --require-hashes -r locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
# The environment has no pip of its own: the build's installs into it, and stays behind. The batch client is not in the
# image, and so its command has nothing to run.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
  && python3 -m venv --without-pip /opt/digitscope \
  && pip --python /opt/digitscope/bin/python install --no-deps wheels/*.whl \
  && rm /opt/digitscope/bin/digitscope-batch

FROM build AS build-cpu
RUN pip --python /opt/digitscope/bin/python install --require-hashes -r locks/cpu.txt \
  && cyclonedx-py environment --output-reproducible -o /opt/digitscope/sbom.json /opt/digitscope/bin/python

FROM ${PYTHON_IMAGE} AS runtime
ENV DIGITSCOPE_HOST=0.0.0.0 DIGITSCOPE_PORT=8000 DIGITSCOPE_MODELS=/models PYTHONUNBUFFERED=1
COPY models /models
WORKDIR /models
USER 10001:10001
EXPOSE 8000
# Three times as cheap as by urllib, and without what a start of Python does for packages: it runs again and again.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/opt/digitscope/bin/python", "-ISc", \
  "import os, socket, sys; s = socket.create_connection(('127.0.0.1', os.environ['DIGITSCOPE_PORT'])); \
  s.sendall(b'GET /v2/health/ready HTTP/1.0\\r\\n\\r\\n'); sys.exit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["/opt/digitscope/bin/python", "-m", "service"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/digitscope /opt/digitscope

FROM build AS build-gpu
RUN pip --python /opt/digitscope/bin/python install --require-hashes -r locks/gpu.txt \
  && cyclonedx-py environment --output-reproducible -o /opt/digitscope/sbom.json /opt/digitscope/bin/python

FROM runtime AS gpu
# What the container toolkit hands in of the driver; asked for here, refused at start where there is none.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility DIGITSCOPE_PROVIDER=cuda
COPY --from=build-gpu /opt/digitscope /opt/digitscope

# The last stage is what `docker build .` makes. The gpu stages stand before it, and not before `cpu`, because a builder
# without BuildKit makes every stage above its target.
FROM cpu
