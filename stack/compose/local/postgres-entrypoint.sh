#!/bin/sh
# Does what of the official image's entrypoint compose.yaml relies on: makes the database once, by the variables, and runs
# /docker-entrypoint-initdb.d against a server without TCP. The user is postgres already.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # The arguments are a list of words.
    # shellcheck disable=SC2086
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
    # As the official image has it: containers of the network come in by their password.
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "host replication all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    export PGPASSWORD PGHOST=/tmp
    pg_ctl -w -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    createdb -U postgres "$POSTGRES_DB"
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sql) psql -v ON_ERROR_STOP=1 -qX -U postgres -d "$POSTGRES_DB" -f "$file" ;;
        *.sh) sh "$file" ;;
        esac
    done
    pg_ctl -m fast -w stop
    unset PGPASSWORD PGHOST
fi
exec "$@"
