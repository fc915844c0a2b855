#!/bin/sh
# Gives the roles of roles.sql their passwords; psql reads them from files, which no list of processes shows.
set -eu
psql -v ON_ERROR_STOP=1 -qX -U postgres -d "$POSTGRES_DB" <<'EOF'
\set generator `cat /run/secrets/generator_password`
\set connector `cat /run/secrets/connector_password`
\set check `cat /run/secrets/check_password`
\set monitor `cat /run/secrets/monitor_password`
ALTER ROLE cdclab_generator PASSWORD :'generator';
ALTER ROLE cdclab_connector PASSWORD :'connector';
ALTER ROLE cdclab_check PASSWORD :'check';
ALTER ROLE cdclab_monitor PASSWORD :'monitor';
EOF
