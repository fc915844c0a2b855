#!/bin/sh
# Becomes Connect's worker; `ask PATH` asks a worker of this container, `put FILE` gives the worker `connect` the connector in the file.
set -eu
CDC_CONNECT_PASSWORD=$(cat /run/secrets/connect_password)
ask() { # a list of processes shows no password: curl reads it
    printf 'user = "cdclab:%s"\n' "$CDC_CONNECT_PASSWORD" | curl -fsS -o /dev/null -K - "$@"
}
case ${1:-} in
ask) ask "http://127.0.0.1:8083$2"; exit ;;
put) ask -X PUT -H 'Content-Type: application/json' --data "@$2" http://connect:8083/connectors/cdclab/config; exit ;;
esac
CDC_KAFKA_PASSWORD=$(cat /run/secrets/kafka_password)
CDC_POSTGRES_PASSWORD=$(cat /run/secrets/connector_password)
export CDC_KAFKA_PASSWORD CDC_POSTGRES_PASSWORD LOG_DIR=/tmp EXTRA_ARGS="-name connectDistributed"
export KAFKA_LOG4J_OPTS="-Dlog4j2.configurationFile=/cdclab/log4j2.properties"
export KAFKA_JVM_PERFORMANCE_OPTS="-XX:+UseSerialGC -Xss512k -Djava.awt.headless=true"
(umask 077
    printf 'cdclab=%s\n' "$CDC_CONNECT_PASSWORD" >/tmp/connect.users
    cat >/tmp/connect.login <<'EOF'
KafkaConnect {
  org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule required
  file="/tmp/connect.users";
};
EOF
)
export KAFKA_OPTS="-Djava.security.auth.login.config=/tmp/connect.login -javaagent:$(echo /opt/agents/jmx_prometheus_javaagent-*.jar)=9404:/cdclab/jmx.yml"
cd /kafka # plugin.path is relative
exec /kafka/bin/connect-distributed.sh /cdclab/worker.properties
