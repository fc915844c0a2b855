"""Stands for the official image's entrypoint and for mongosh, with secantusd-rs in place of mongod: makes the only user on the loopback
address once, and becomes the server. With the argument `health` it ends with 0 once the server takes writes."""
import os
import pathlib
import subprocess
import sys
import time

import pymongo

DATA = pathlib.Path("/data/db")
MADE = DATA / "user-made"
PASSWORD = pathlib.Path("/run/secrets/mongo_password").read_text().strip()


def server(host):
    return ["secantusd-rs", "--config", "/etc/secantusd.toml", "--host", host, "--port", "27017", "--storage-path", str(DATA / "store"),
            "--cache-size", "512M", "--log-level", "WARNING", "--sync-on-commit", "--auth"]


def client(**login):
    return pymongo.MongoClient("mongodb://127.0.0.1:27017/?directConnection=true", serverSelectionTimeoutMS=2000, **login)


if sys.argv[1:] == ["health"]:
    hello = client(username="cdclab", password=PASSWORD, authSource="admin").admin.command("hello")
    sys.exit(0 if hello.get("isWritablePrimary") else 1)

if not MADE.exists():
    with subprocess.Popen(server("127.0.0.1")) as process:
        for _ in range(100):
            try:
                client().admin.command("hello")
                break
            except pymongo.errors.PyMongoError:
                time.sleep(0.1)
        client().admin.command("createUser", "cdclab", pwd=PASSWORD, roles=["root"])
        process.terminate()
    MADE.touch()
os.execvp("secantusd-rs", server("0.0.0.0"))
