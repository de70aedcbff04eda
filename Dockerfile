# syntax=docker/dockerfile:1
# hmacfs in a container: wheels are built in one stage and installed in the next, which has no compiler.
#
#   docker build -t hmacfs .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 45 \
#       -p 127.0.0.1:8080:8080 -v hmacfs:/srv/hmacfs -e HMACFS_SECRET=... hmacfs
#
# The root may be read-only: everything that is written lies in /srv/hmacfs. Put a configuration of your own
# over /etc/hmacfs/config.toml. The metrics listener (9090) is for the container network: do not publish it.

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY hmacfs hmacfs
RUN python -m pip wheel --no-cache-dir --wheel-dir /wheels .

FROM ${PYTHON}
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python -m venv /opt/hmacfs \
    && /opt/hmacfs/bin/python -m pip install --no-cache-dir --no-index --find-links /wheels hmacfs
RUN groupadd --system --gid 10001 hmacfs \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent hmacfs \
    && install -d -o hmacfs -g hmacfs -m 0750 /srv/hmacfs
COPY deploy/container.toml /etc/hmacfs/config.toml

ENV PATH=/opt/hmacfs/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
VOLUME /srv/hmacfs
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# /readyz answers 503 while draining or short of disk, which urlopen raises: not ready is exit code 1.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/readyz', timeout=4)"]
ENTRYPOINT ["hmacfs"]
CMD ["serve", "--config", "/etc/hmacfs/config.toml"]
