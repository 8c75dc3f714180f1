# The GPU image of app, worker and migrate: FAISS with cuVS and sentence-transformers on CUDA 13.
# It has no PostgreSQL and no model server inside: docker-compose.yml puts both beside it.
#   docker build -f docker/gpu.Dockerfile -t opora-gpu .
# Never built where this was written: the project's machines without a GPU hold no CUDA wheels. Its
# lock was resolved there (docs/operations/containers.md).
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/build && python3 -m venv /opt/opora
# The secret is optional: the pip settings of the building machine (a mirror, say) stay out of the image.
COPY docker/gpu-requirements.txt docker/build-requirements.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip install --require-hashes --only-binary :all: -r build-requirements.txt \
    && /opt/opora/bin/pip install --require-hashes --only-binary :all: -r gpu-requirements.txt
COPY pyproject.toml README.md ./
COPY app app
COPY ingestion ingestion
COPY migrations migrations
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/opora/bin/pip install --no-index --no-deps dist/*.whl

FROM ${BASE}
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Opora for GPUs" \
      org.opencontainers.image.description="Question answering over a company's own documents" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# tesseract: text in scans and images; the package brings the English data along.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tesseract-ocr tesseract-ocr-rus \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
    && groupadd --gid 10001 opora \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin opora \
    && install -d -o 10001 -g 10001 -m 0750 /data /models
COPY --from=build /opt/opora /opt/opora
COPY docker/healthcheck.py /opt/opora/healthcheck.py
ENV PATH=/opt/opora/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HUB_OFFLINE=1 \
    OPORA_EMBEDDER__DEVICE=cuda \
    OPORA_DATA_DIR=/data \
    OPORA_MODELS_DIR=/models \
    OPORA_HTTP__HOST=0.0.0.0
VOLUME ["/data", "/models"]
WORKDIR /data
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "/opt/opora/healthcheck.py", "app"]
ENTRYPOINT ["opora"]
CMD ["app"]
