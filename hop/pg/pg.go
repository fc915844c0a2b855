// Package pg reaches PostgreSQL as package hop says: a server that asks for the password itself
// gets the password over TLS, over a socket or on this machine alone. Start reading at Connect.
package pg

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/shown"
)

// Connect is pgx.Connect with the configuration of ParseFixed.
func Connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	config, err := ParseFixed(dsn)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, config)
}

// ParseFixed is Parse with FixSchema.
func ParseFixed(dsn string) (*pgx.ConnConfig, error) {
	config, err := Parse(dsn)
	if err != nil {
		return nil, err
	}
	return config, FixSchema(&config.Config, dsn)
}

// Parse is pgx.ParseConfig with Guard; the error shows the address without its password.
func Parse(dsn string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil || !HasHosts(&config.Config) {
		return nil, Unreadable(dsn)
	}
	Guard(&config.Config)
	return config, nil
}

// host is a name, an address or the folder of a socket. The rest of a password with an @ is no
// host, and an error of the connection would repeat such a host.
var host = regexp.MustCompile(`^([\w.-]+|[0-9A-Fa-f:.]+(%[\w.-]+)?|[/@][^@:?#]*)$`)

// HasHosts is true if the configuration has nothing but hosts where hosts belong.
func HasHosts(config *pgconn.Config) bool {
	return host.MatchString(config.Host) &&
		!slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool {
			return !host.MatchString(f.Host)
		})
}

// Unreadable is the error for an address that cannot be read: the reason of pgx may repeat the
// password.
func Unreadable(dsn string) error {
	return fmt.Errorf("the address of PostgreSQL %s cannot be read: "+
		"want postgres://USER@HOST:PORT/DB", shown.Address(dsn))
}

// Guard refuses to answer a server's request for the readable password over a network without TLS,
// with hop.ErrReadable. The password may be asked for as SCRAM or as MD5.
func Guard(config *pgconn.Config) {
	build := config.BuildFrontend
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		if !isPrivate(w) {
			r = &watcher{from: r}
		}
		return build(r, w)
	}
}

// isPrivate is true for TLS, and for connections that leave no machine.
func isPrivate(w io.Writer) bool {
	if _, is := w.(*tls.Conn); is {
		return true
	}
	conn, is := w.(net.Conn)
	if !is {
		return false
	}
	switch address := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		return address.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// headBytes are a message's type and length; an authentication request has its kind behind.
const (
	headBytes = 5
	kindBytes = 4
)

// watcher passes the server's messages on, until the server has let the client in. A request for
// the readable password becomes an error instead.
type watcher struct {
	from io.Reader
	// head holds the beginning of the message under way, rest counts further bytes of the message.
	head   []byte
	rest   int
	isDone bool
}

var errAsksForPassword = fmt.Errorf("the server asks for the password itself: %w", hop.ErrReadable)

// Read is for io.Reader.
func (w *watcher) Read(into []byte) (int, error) {
	n, err := w.from.Read(into)
	for seen := into[:n]; len(seen) > 0 && !w.isDone; {
		if skipped := min(w.rest, len(seen)); skipped > 0 {
			w.rest, seen = w.rest-skipped, seen[skipped:]
			continue
		}
		w.head, seen = append(w.head, seen[0]), seen[1:]
		if refused := w.judge(); refused != nil {
			return 0, errors.Join(refused, err)
		}
	}
	return n, err
}

// judge looks at the head once the head is whole.
func (w *watcher) judge() error {
	isRequest := w.head[0] == 'R'
	if len(w.head) < headBytes || isRequest && len(w.head) < headBytes+kindBytes {
		return nil
	}
	length := int(binary.BigEndian.Uint32(w.head[1:])) - (len(w.head) - 1)
	if isRequest {
		switch binary.BigEndian.Uint32(w.head[headBytes:]) {
		case pgproto3.AuthTypeOk:
			w.isDone = true
		case pgproto3.AuthTypeCleartextPassword:
			return errAsksForPassword
		}
	}
	w.head, w.rest = w.head[:0], max(0, length)
	return nil
}
