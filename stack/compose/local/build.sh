#!/bin/sh
# Builds the images of compose.yaml in this folder, for a machine that reaches no image registry but the registries of Debian, Maven, Go
# and Rust. What apt in a container needs of this machine (proxies) comes from the environment.
set -eu
here=$(CDPATH= cd -- "$(dirname "$0")" && pwd -P)
root=$(CDPATH= cd -- "$here/../../.." && pwd -P)
context=$root/bin/compose
cd -- "$root"

mkdir -p "$context/bin"
go build -o bin/cdclab .
for program in consumer:consumer/cmd/consumer topics:stack/kafka/cmd/topics probe:stack/compose/probe toxiproxy:stack/proxy/cmd/toxiproxy k6:xk6-cdc/cmd/k6; do
    (cd "${program#*:}" && go build -o "$context/bin/${program%%:*}" .)
done
bin/cdclab fetch compose "$context" # what the lab has fetched and checked for its own stacks
# The programs of the profile observe: 15 minutes the first time. Without them: `./build.sh core`.
watches=
if [ "${1:-}" != core ]; then
    watches="otel-collector prometheus alertmanager postgres-exporter"
    bin/cdclab fetch observers "$context/observers"
fi
rm -rf "$context/local" && cp -r "$here" "$context/local"

for image in postgres kafka connect mongo consumer toxiproxy k6 $watches; do
    DOCKER_BUILDKIT=0 docker build -q --network host --build-arg http_proxy --build-arg https_proxy --build-arg no_proxy \
        --target "$image" -t "cdclab-local/$image" -f "$here/Dockerfile" "$context"
done
