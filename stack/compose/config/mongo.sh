#!/bin/sh
# mongod takes the key of a replica set only from a file of its own user's alone.
set -eu
install -m 400 -o mongodb /run/secrets/mongo_key /tmp/mongo.key
exec docker-entrypoint.sh "$@" --keyFile /tmp/mongo.key
