# A stand-in for the image `haproxy`, where none can be pulled: Debian's HAProxy, started and ended in the same way.
FROM python:3.13-slim-trixie
RUN apt-get update && apt-get install --yes --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
USER 99:99
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
