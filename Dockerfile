# The image of anon-operator contains one binary and runs it as an unprivileged user.
#
#   docker build -t registry.example.com/anon-operator:0.1.0 .
#
# Both base images can be replaced by a mirror or by your own images. The runtime image needs glibc,
# libgcc, and CA certificates in /etc/ssl/certs, which are used to authenticate identity providers
# (debian:bookworm-slim has none: install ca-certificates there):
#
#   --build-arg BUILD_IMAGE=… --build-arg RUNTIME_IMAGE=debian:bookworm-slim
#
# Choose them together: the glibc of the runtime image must not be older than that of the build
# image (here, both are Debian 12).
#
# The metric anon_build_info shows the commit, if it is passed:
#
#   --build-arg REVISION="$(git rev-parse HEAD)"
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
ARG REVISION=unknown
WORKDIR /src
# .dockerignore allows only the sources of the binary. It excludes rust-toolchain.toml, so that
# rustup does not download a second toolchain.
COPY . .
# The caches are not part of a layer, so the binary is copied out of them. They outlive this build
# and are shared with builds of other commits. Because cargo compares modification times, the
# sources are touched: they have to be newer than anything built from other sources.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find src Cargo.toml Cargo.lock -type f -exec touch {} + \
    && ANON_REVISION="$REVISION" cargo build --release --locked --bin anon-operator \
    && cp target/release/anon-operator /anon-operator

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="anon-operator" \
      org.opencontainers.image.description="Kubernetes operator that manages API keys, JWT signing keys and user pools, and validates tokens and API keys" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /anon-operator /usr/local/bin/anon-operator
# The index of a large installation is read at random places. With huge pages, such a read waits less
# for page tables. Nodes whose /sys/kernel/mm/transparent_hugepage/enabled says `never` ignore this.
ENV GLIBC_TUNABLES=glibc.malloc.hugetlb=1
# Numeric, so that the kubelet can check runAsNonRoot.
USER 65532:65532
# 8080: validation, JWKS and API. 9090: health and metrics.
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/anon-operator"]
CMD ["run"]
