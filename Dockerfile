# clipkit serve in a container:
#   docker build --tag clipkit .
#   docker run --rm --publish 8000:8000 --volume "$HOME/Pictures:/photos:ro" clipkit /photos
# The image has the embedded model and no torch. For other models compile one outside and mount it:
#   ... --volume "$PWD/model:/model:ro" clipkit /photos --model /model

FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY clipkit clipkit
COPY weights/starter weights/starter
COPY demo/samples demo/samples
COPY docs/clipkit.1 docs/clipkit.1
RUN python -m venv /opt/clipkit \
    && /opt/clipkit/bin/pip install --no-cache-dir ".[server,milvus,heif]"

FROM python:3.12-slim-bookworm
# A number, so that Kubernetes can see that it is not root; /data has the indexes.
RUN groupadd --gid 10001 clipkit \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data clipkit \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/clipkit /opt/clipkit
ENV PATH=/opt/clipkit/bin:$PATH \
    CLIPKIT_HOME=/data \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Not before the first index is made: a large folder is better indexed before, as compose.yaml does.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
ENTRYPOINT ["clipkit", "serve", "--host", "0.0.0.0"]
