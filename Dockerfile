# The image for one major version of PostgreSQL. On Alpine, with static programs:
#
#   docker build -t backupgram:17 .
#   docker build -t backupgram:16 --build-arg BASE=postgres:16-alpine .
#
# On Debian:
#
#   docker build -t backupgram:17-bookworm \
#       --build-arg BASE=postgres:17-bookworm --build-arg BUILDER=rust:1-bookworm .
ARG BASE=postgres:17-alpine
ARG BUILDER=rust:1-alpine

FROM ${BUILDER} AS build
WORKDIR /src
# First only the dependencies: this layer is cached until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src/bin \
    && echo '//! Nothing yet.' >src/lib.rs \
    && for program in backupgram backupgram-api go-cron; do \
        printf '//! Nothing yet.\nfn main() {}\n' >"src/bin/$program.rs"; \
    done \
    && cargo build --release --locked \
    && rm -r src
COPY docs/openapi.json docs/
COPY src src
# cargo would not recompile files that are older than the placeholders they replace.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo install --locked --path . --root /programs --bin backupgram

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="backupgram" \
      org.opencontainers.image.description="Backs up a PostgreSQL server on a schedule and on request over HTTP" \
      org.opencontainers.image.source="https://github.com/ganiyevuz/backupgram" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Versions are not pinned, so that the distribution's security fixes are used.
# hadolint ignore=DL3008,DL3018
RUN if command -v apk >/dev/null; then \
        apk add --no-cache ca-certificates curl gnupg run-parts tzdata; \
    else \
        apt-get update \
        && apt-get install --yes --no-install-recommends ca-certificates curl gnupg tzdata \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    # A new volume is initialised from this directory, so any user of the container can write to it.
    && mkdir -m 0777 /backups \
    && mkdir /hooks \
    # Restore proofs start a PostgreSQL server, which requires that its user has a name.
    && echo 'backupgram:x:10001:10001::/backups:/sbin/nologin' >>/etc/passwd \
    && echo 'backupgram:x:10001:' >>/etc/group \
    # The program selects its role by the name it is run as.
    && for name in backupgram-api go-cron backup restore list status help; do \
        ln -s backupgram "/usr/local/bin/$name"; \
    done

COPY --from=build /programs/bin/ /usr/local/bin/
COPY scripts/init.sh scripts/env.sh scripts/backup.sh scripts/restore.sh scripts/list.sh \
     scripts/verify.sh scripts/telegram.sh scripts/healthcheck.sh /

VOLUME /backups
# The scheduler's health port, and the API.
EXPOSE 8080 8081
# The base image uses SIGINT, which is specific to PostgreSQL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/healthcheck.sh"]
ENTRYPOINT ["/init.sh"]
# The command of the base image would start a server.
CMD []
