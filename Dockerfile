# The service in a container: docker build -t diml . (see docs/service.md).
#
# It computes on CPUs. Torch comes from the package registry like the rest, on x86-64 with its libraries for GPUs, which
# make the image several GB larger. Builds of torch for CPUs alone are on an index of the torch project; do not mix torch
# of one index with torchvision of the other.
FROM python:3.13-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/diml
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN /opt/diml/bin/pip install "/source[serve]"

FROM python:3.13-slim

RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin diml
COPY --from=build /opt/diml /opt/diml

# The root file system may be read-only: what is compiled or cached at run time goes to /tmp, a tmpfs.
# The token is in a file; hadolint takes its path for the token.
# hadolint ignore=DL3064
ENV PATH=/opt/diml/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    DIML_SERVE_HOST=0.0.0.0 \
    DIML_SERVE_PORT=8000 \
    DIML_SERVE_TOKEN_FILE=/run/secrets/diml-token
USER 10001
WORKDIR /tmp
VOLUME /indexes
EXPOSE 8000

# Answers 200 once every index and its model answer.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"DIML_SERVE_PORT\"]}/health', timeout=4)"]

ENTRYPOINT ["diml", "serve"]
CMD ["/indexes/images.diml"]
