package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs of refusals.
const (
	wrongPassword     = "28P01"
	needsPassword     = "28000"
	notAllowed        = "42501"
	whatStandsInFiles = `SELECT pg_read_file('postgresql.conf')`
	runsAProgram      = `COPY (SELECT 1) TO PROGRAM 'true'`
)

// code is the SQLSTATE of a refusal, "" of none.
func code(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// Who has no password gets nothing: with trust every user of the machine ran programs as the
// server's user.
func TestNobodyComesInWithoutThePassword(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	for _, role := range []string{User, Generator, Connector, Check} {
		for _, database := range []string{Database, "postgres", "template1"} {
			for what, login := range map[string]*url.Userinfo{
				"no password": url.User(role), "its own name": url.UserPassword(role, role),
				"another's password": url.UserPassword(role, p.Password(other(role))),
			} {
				for _, more := range []string{"", "&replication=database"} {
					dsn := url.URL{Scheme: "postgres", User: login, Host: p.Address(),
						Path: database, RawQuery: "sslmode=disable" + more}
					err := as(t, dsn.String(), func(*pgx.Conn) error { return nil })
					if got := code(err); got != wrongPassword && got != needsPassword {
						t.Errorf("%s with %s in %s%s: %v", role, what, database, more, err)
					}
				}
			}
		}
	}
}

func other(role string) string {
	if role == Check {
		return Connector
	}
	return Check
}

// Each role may do the work of its part and nothing else.
func TestRolesHaveLeastPrivilege(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	execPostgres(t, p, `CREATE TABLE later (id int PRIMARY KEY)`)
	superuser, err := pgx.Connect(t.Context(), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer superuser.Close(context.Background())
	const (
		update = `UPDATE customer SET status = 'x'`
		read   = `SELECT FROM customer c, address a, "order" o, order_item i`
		signal = `INSERT INTO debezium.signal VALUES (gen_random_uuid(), 'x', '{}')`
		table  = `CREATE TABLE mine (id int)`
		secret = `SELECT rolpassword FROM pg_authid`
		delete = `DELETE FROM order_item`
		empty  = `TRUNCATE order_item`
		lock   = `ALTER TABLE customer ADD COLUMN mine int`
		become = `SET ROLE ` + User
		drop   = `DROP PUBLICATION cdclab`
		later  = `SELECT FROM later`
	)
	refusedToAll := []string{table, secret, empty, lock, become, drop, whatStandsInFiles,
		runsAProgram, `ALTER ROLE ` + User + ` PASSWORD 'x'`, `CREATE SCHEMA mine`,
		`ALTER SYSTEM SET fsync = off`, `CREATE DATABASE mine`,
		fmt.Sprintf(`SELECT pg_terminate_backend(%d)`, superuser.PgConn().PID())}
	for role, may := range map[string]struct{ yes, no []string }{
		Generator: {[]string{insertCustomer, update, read, delete}, []string{signal, later}},
		Connector: {[]string{read, later, signal}, []string{insertCustomer, update, delete}},
		Check:     {[]string{read}, []string{insertCustomer, update, delete, signal, later}},
	} {
		err := as(t, p.DSNFor(role), func(conn *pgx.Conn) error {
			for _, sql := range may.yes {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Errorf("%s, %s: %v", role, sql, err)
				}
			}
			for _, sql := range append(may.no, refusedToAll...) {
				_, err := conn.Exec(t.Context(), sql)
				if code(err) != notAllowed {
					t.Errorf("%s, %s: %v; want a refusal", role, sql, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", role, err)
		}
		err = as(t, p.DSNFor(role)+"&replication=database",
			func(*pgx.Conn) error { return nil })
		if streams := err == nil; streams != (role == Connector) {
			t.Errorf("%s streams the log: %v (%v)", role, streams, err)
		}
	}
}

// A password shows in no argument, no environment and no file of the server.
func TestPasswordsShowNowhere(t *testing.T) {
	t.Parallel()
	p := testPostgres(t)
	startPostgres(t, p)
	var seen [][]byte
	for _, pid := range p.PIDs() {
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
			if err != nil {
				t.Skip("no /proc here: ", err)
			}
			seen = append(seen, text)
		}
	}
	files := 0
	err := filepath.WalkDir(p.Folder.Path, func(path string, d os.DirEntry, err error) error {
		// The log of changes holds the statement's verifier, and never the password.
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		seen, files = append(seen, text), files+1
		return err
	})
	if err != nil || files < 100 {
		t.Fatalf("read %d files: %v", files, err)
	}
	for role := range p.passwords {
		for _, text := range seen {
			if bytes.Contains(text, []byte(p.Password(role))) {
				t.Errorf("the password of %s stands in %.80q", role, text)
			}
		}
	}
}
