#!/bin/sh
# Stands for the scripts of Kafka's distribution: runs the main class that the script of this name runs, beside its libs.
set -eu
case ${0##*/} in
kafka-server-start.sh) main=kafka.Kafka ;;
kafka-storage.sh) main=kafka.tools.StorageTool ;;
connect-distributed.sh) main=org.apache.kafka.connect.cli.ConnectDistributed ;;
*) echo "no main class for $0" >&2; exit 1 ;;
esac
# The settings are lists of words.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:-} ${KAFKA_JVM_PERFORMANCE_OPTS:-} ${KAFKA_OPTS:-} ${KAFKA_LOG4J_OPTS:-} \
    -cp "${0%/bin/*}/libs/*" "$main" "$@"
