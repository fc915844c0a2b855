package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cdclab/cdclab/stack/process"
)

// Restore moves the rows of the stopped server into a new cluster, as a dump and its restore do:
// the log begins anew, at lower positions, and replication slots are gone. The server stays
// stopped. Meanwhile both clusters listen on ports that nobody was told. Until LetWrite the role
// Generator cannot log in. After an error the data is as before.
func (p *Server) Restore(ctx context.Context) error {
	if p.Current().Alive() {
		return errors.New("restore postgres: it is running")
	}
	old, oldErr := p.another(Name) // on the data of this server
	fresh, freshErr := p.another(Name + "-new")
	if err := errors.Join(oldErr, freshErr); err != nil {
		return fmt.Errorf("restore postgres: %w", err)
	}
	err := copyRows(ctx, old, fresh)
	if err == nil {
		err = os.RemoveAll(p.dataDir())
	}
	if err == nil {
		err = os.Rename(fresh.dataDir(), p.dataDir())
	}
	if err = errors.Join(err, os.RemoveAll(fresh.dataDir())); err != nil {
		return fmt.Errorf("restore postgres: %w", err)
	}
	return nil
}

// another is a server of the same programs, owner and roles on a port of its own, with the data of
// the name.
func (p *Server) another(name string) (*Server, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	return &Server{Child: p.Beside(name), binDir: p.binDir,
		address: process.Loopback(port), passwords: p.passwords, owner: p.owner,
		more: p.more}, nil
}

// copyRows starts the servers, copies every row, and stops the servers.
func copyRows(ctx context.Context, from, to *Server) (err error) {
	for _, server := range []*Server{from, to} {
		defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
		if err := server.Start(ctx); err != nil {
			return err
		}
	}
	return With(ctx, from.DSN(), func(source *pgx.Conn) error {
		return With(ctx, to.DSN(), func(target *pgx.Conn) error {
			if err := setLogin(ctx, target, "NOLOGIN"); err != nil {
				return err
			}
			return copyTables(ctx, source, target)
		})
	})
}

// LetWrite lets the role Generator log in again after Restore.
func (p *Server) LetWrite(ctx context.Context) error {
	return With(ctx, p.DSN(), func(conn *pgx.Conn) error { return setLogin(ctx, conn, "LOGIN") })
}

func setLogin(ctx context.Context, conn *pgx.Conn, login string) error {
	if _, err := conn.Exec(ctx, "ALTER ROLE "+Generator+" "+login); err != nil {
		return fmt.Errorf("set %s for role %s: %w", login, Generator, err)
	}
	return nil
}

// copyTables copies the rows of every table. No trigger runs, and so no foreign key asks for an
// order of the tables.
func copyTables(ctx context.Context, from, to *pgx.Conn) error {
	rows, err := from.Query(ctx, `SELECT schemaname, tablename FROM pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		return fmt.Errorf("list the tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (pgx.Identifier, error) {
		name := make(pgx.Identifier, 2)
		return name, row.Scan(&name[0], &name[1])
	})
	if err != nil {
		return fmt.Errorf("list the tables: %w", err)
	}
	if _, err := to.Exec(ctx, "SET session_replication_role = replica"); err != nil {
		return fmt.Errorf("turn triggers off: %w", err)
	}
	for _, table := range tables {
		if err := copyTable(ctx, from, to, table.Sanitize()); err != nil {
			return fmt.Errorf("copy table %s: %w", table.Sanitize(), err)
		}
	}
	return nil
}

func copyTable(ctx context.Context, from, to *pgx.Conn, table string) error {
	reader, writer := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := from.PgConn().CopyTo(ctx, writer, "COPY "+table+" TO STDOUT (FORMAT binary)")
		return errors.Join(err, writer.CloseWithError(err))
	})
	group.Go(func() error {
		_, err := to.PgConn().CopyFrom(ctx, reader, "COPY "+table+" FROM STDIN (FORMAT binary)")
		return errors.Join(err, reader.CloseWithError(err))
	})
	return group.Wait()
}
