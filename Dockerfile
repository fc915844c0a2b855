# The images of stack/compose/compose.yaml that are not of the registries. Each runs without root, on a read-only file system, with
# nothing in it but its program; kafka and connect are the official images and the Prometheus agent. What `go` and `mvn` need of a
# network comes as build arguments, by the names that Docker passes on by itself (HTTPS_PROXY) and these.
FROM golang:1.26-bookworm AS build
ARG GOPROXY
ARG GOSUMDB
WORKDIR /src
COPY go.mod go.sum go.work go.work.sum ./
COPY xk6-cdc/go.mod xk6-cdc/go.sum ./xk6-cdc/
RUN go mod download && cd xk6-cdc && go mod download
COPY . .
RUN mkdir -p /out/consumer /out/toxiproxy /out/k6 /out/cdclab \
    && CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/probe ./stack/compose/probe \
    && CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/consumer/ ./consumer/cmd/consumer ./stack/kafka/cmd/topics \
    && CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/toxiproxy/ ./stack/proxy/cmd/toxiproxy

FROM build AS build-lab
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/cdclab/cdclab . \
    && cd xk6-cdc && CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/k6/k6 ./cmd/k6

# The C library is there for a consumer that a lab puts in the image's place (`bench --consumer`).
FROM gcr.io/distroless/base-debian12:nonroot AS consumer
COPY --from=build /out/consumer/ /out/probe /
ENTRYPOINT ["/consumer"]
EXPOSE 9300
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["/probe", "http://127.0.0.1:9300/readyz"]

FROM gcr.io/distroless/static-debian12:nonroot AS toxiproxy
COPY --from=build /out/toxiproxy/ /out/probe /
ENTRYPOINT ["/toxiproxy"]
EXPOSE 8474
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/probe", "http://127.0.0.1:8474/version"]

FROM gcr.io/distroless/static-debian12:nonroot AS k6
COPY --from=build-lab /out/k6/ /
ENTRYPOINT ["/k6"]

FROM gcr.io/distroless/static-debian12:nonroot AS cdclab
COPY --from=build-lab /out/cdclab/ /
ENTRYPOINT ["/cdclab"]

FROM maven:3.9.11-eclipse-temurin-17 AS jars
COPY stack/programs/pom.xml /jars/
RUN mvn -B -q --strict-checksums -f /jars/pom.xml -Ddist=/jars process-resources

FROM apache/kafka:4.3.0@sha256:0be4c9eb3565733612d2836d65636fd611a219ebcf5b4162e5ac259ea0ecb907 AS kafka
COPY --from=jars /jars/agents/ /opt/agents/

FROM quay.io/debezium/connect:3.6.3.Final AS connect
COPY --from=jars /jars/agents/ /opt/agents/

# The official images of what watches have no shell, so their health checks are the probe.
FROM otel/opentelemetry-collector-contrib:0.155.0 AS otel-collector
COPY --from=build /out/probe /

FROM percona/mongodb_exporter:0.47.1 AS mongodb-exporter
COPY --from=build /out/probe /

FROM grafana/loki:3.5.5@sha256:31628519045e7f28692a7ae73b4a3fd293dccb425585ed5d16ceea3b5c9592e6 AS loki
COPY --from=build /out/probe /

FROM grafana/tempo:2.8.2@sha256:0ef775495967cd5d7a6b2e146b6ea695d624803c8db8349fb8ce4164f719f9b7 AS tempo
COPY --from=build /out/probe /
