# Two targets: `cpu`, the default, and `gpu`. The environment is built in one stage and copied into another, so that no
# compiler, no pip and no cache of a build stays behind.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# The environment has no pip of its own: the image's installs into it, and stays behind.
RUN python3 -m venv --without-pip /opt/digitscope
COPY pyproject.toml README.md LICENSE ./
COPY service service

FROM build AS build-cpu
# The batch client is not in the image, and so its command has nothing to run.
RUN python3 -m pip --python /opt/digitscope/bin/python install --no-cache-dir ".[cpu,grpc]" \
  && rm /opt/digitscope/bin/digitscope-batch

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
RUN python3 -m pip --python /opt/digitscope/bin/python install --no-cache-dir ".[gpu,grpc]" \
  && rm /opt/digitscope/bin/digitscope-batch

FROM runtime AS gpu
# What the container toolkit hands in of the driver; asked for here, refused at start where there is none.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility DIGITSCOPE_PROVIDER=cuda
COPY --from=build-gpu /opt/digitscope /opt/digitscope

# The last stage is what `docker build .` makes. The gpu stages stand before it, and not before `cpu`, because a builder
# without BuildKit makes every stage above its target.
FROM cpu
