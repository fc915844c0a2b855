package stack

import (
	"strings"
	"testing"
)

// TestWriteGuard: the lab writes to no database that was not named twice.
func TestWriteGuard(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSSLMODE"} {
		t.Setenv(name, "")
	}
	for name, c := range map[string]struct{ dsn, writeTo, want string }{
		"host and database":       {"postgres://u:secret@db/shop", "db/shop", ""},
		"with the port":           {"postgres://u:secret@db:6432/shop", "db:6432/shop", ""},
		"key=value":               {"host=db port=6432 user=u password=secret dbname=shop", "db:6432/shop", ""},
		"TLS and without":         {"postgres://u:secret@db/shop?sslmode=prefer", "db/shop", ""},
		"not named":               {"postgres://u:secret@db:6432/shop", "", "say --yes-write-to db:6432/shop"},
		"another host":            {"postgres://u:secret@db/shop", "dev/shop", "asked to write to dev/shop, but the address of PostgreSQL is that of db:5432/shop"},
		"another port":            {"postgres://u:secret@db:6432/shop", "db:5432/shop", "is that of db:6432/shop"},
		"another database":        {"postgres://u:secret@db/shop", "db/test", "is that of db:5432/shop"},
		"no database":             {"postgres://u:secret@db", "db/", "names no database"},
		"no database, with slash": {"postgres://u:secret@db/", "db:5432/", "names no database"},
		"a second host":           {"postgres://u:secret@dev,production/shop", "dev/shop", "more than one host, dev:5432 and production:5432"},
		"a second port":           {"postgres://u:secret@db:5432,db:5433/shop", "db/shop", "more than one host, db:5432 and db:5433"},
		"second host, key=value":  {"host=dev,production user=u password=secret dbname=shop", "dev/shop", "more than one host"},
		"no address":              {"", "db/shop", "needs the address of its PostgreSQL"},
		"unreadable":              {"postgres://u:secret@db:port/shop", "db/shop", "cannot be read: want postgres://"},
	} {
		t.Run(name, func(t *testing.T) {
			e := Endpoint{PostgresDSN: c.dsn, WriteTo: c.writeTo, KafkaBrokers: []string{"kafka:9092"}}
			err := e.check("mongodb://mongo")
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}
