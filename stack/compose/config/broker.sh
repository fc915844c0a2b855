#!/bin/sh
# Formats the data folder the first time, with the first password of SCRAM in it, and becomes the broker.
set -eu
CDC_KAFKA_PASSWORD=$(cat /run/secrets/kafka_password)
export CDC_KAFKA_PASSWORD LOG_DIR=/tmp EXTRA_ARGS="-name kafkaServer"
export KAFKA_LOG4J_OPTS="-Dlog4j2.configurationFile=/cdclab/log4j2.properties"
export KAFKA_JVM_PERFORMANCE_OPTS="-XX:+UseSerialGC -Xss512k -Djava.awt.headless=true"
if [ ! -e "$CDC_KAFKA_DATA/meta.properties" ]; then
    # The tool reads arguments from a file, which no list of processes shows.
    (umask 077; printf -- '--add-scram\nSCRAM-SHA-256=[name=%s,password=%s]\n' "$CDC_KAFKA_USER" "$CDC_KAFKA_PASSWORD" >/tmp/scram)
    /opt/kafka/bin/kafka-storage.sh format --standalone --cluster-id Y2RjbGFiLXN0YWNrLWtrcg \
        --config /cdclab/broker.properties @/tmp/scram
    rm /tmp/scram
fi
export KAFKA_OPTS="-javaagent:$(echo /opt/agents/jmx_prometheus_javaagent-*.jar)=9404:/cdclab/jmx.yml"
exec /opt/kafka/bin/kafka-server-start.sh /cdclab/broker.properties
