# The service:  docker build -t inpaint .
# Training:     docker build -t inpaint-training --target training .
#
# Both use a CUDA device if the container is given one, and the CPU otherwise. How large the image is depends on
# where torch comes from:
#   - a torch wheel in the folder wheels/ is taken, whatever its version;
#   - else TORCH_INDEX_URL may name a package index of builds without CUDA, or for another CUDA;
#   - else the index that pip is set to answers, on Linux with CUDA and several gigabytes.
# With all wheels in wheels/ and --build-arg PIP_NO_INDEX=1, nothing is downloaded.

FROM python:3.12.12-slim-bookworm AS base

FROM base AS build
ARG TORCH_INDEX_URL=""
ARG TORCH_VERSION=""
ARG PIP_NO_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_FIND_LINKS=/src/wheels PIP_PYTHON=/opt/venv/bin/python
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
# A pattern, since wheels/ may be absent.
COPY constraints.txt wheel[s] wheels/
# Another torch than the pinned one brings its own torchvision.
RUN version="${TORCH_VERSION:-$(find wheels -name 'torch-*.whl' | head -n 1 | cut -d - -f 2)}" \
 && mv wheels/constraints.txt . \
 && if [ -n "$version" ]; then sed -i -e "s/^torch==.*/torch==$version/" -e '/^torchvision==/d' constraints.txt; fi \
 && python -m venv --without-pip /opt/venv \
 && pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY model_core model_core
COPY training training
RUN pip install -c constraints.txt .

FROM build AS build-training
ARG TORCH_INDEX_URL=""
ARG PIP_NO_INDEX=""
RUN pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} -c constraints.txt '.[training]'

FROM base AS runtime
# Nothing is installed any more, so pip goes. A volume that is first mounted at /checkpoints or /var/cache/inpaint
# takes over that folder's owner and what is in it.
RUN rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/bin/pip* \
 && useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin inpaint \
 && install -d -o inpaint -g inpaint /checkpoints /var/cache/inpaint
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /tmp
USER 10001:10001

FROM runtime AS training
COPY --from=build-training /opt/venv /opt/venv
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM runtime AS service
LABEL org.opencontainers.image.title="Inpainting server" \
      org.opencontainers.image.description="Fills damaged or unwanted parts of photographs over HTTP" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
ENV INPAINT_HOST=0.0.0.0 INPAINT_PORT=8000 NUMBA_CACHE_DIR=/var/cache/inpaint
# For the processor that the image is built on; on another, the first start compiles anew.
RUN ["python", "-m", "model_core"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['INPAINT_PORT']), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app"]
