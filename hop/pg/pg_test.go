package pg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/hop"
)

// askFor greets one client, asks for the readable password, and returns the client's answer.
func askFor(t *testing.T, conn net.Conn) <-chan string {
	t.Helper()
	answered := make(chan string, 1)
	go func() {
		defer conn.Close()
		server := pgproto3.NewBackend(conn, conn)
		if _, err := server.ReceiveStartupMessage(); err != nil {
			t.Error(err)
		}
		server.Send(&pgproto3.NoticeResponse{Message: "R\x00\x00\x00\x08\x00\x00\x00\x00"})
		server.Send(&pgproto3.AuthenticationCleartextPassword{})
		if err := server.Flush(); err != nil {
			t.Error(err)
		}
		server.SetAuthType(pgproto3.AuthTypeCleartextPassword)
		answer, _ := server.Receive()
		said, _ := answer.(*pgproto3.PasswordMessage)
		if said == nil {
			said = &pgproto3.PasswordMessage{}
		}
		answered <- said.Password
	}()
	return answered
}

// dial connects to PostgreSQL over the connection.
func dial(t *testing.T, conn net.Conn) error {
	t.Helper()
	config, err := Parse("postgres://lab:geheim@192.0.2.1/shop?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	_, err = pgx.ConnectConfig(t.Context(), config)
	return err
}

// TestReadablePassword: a server that asks for the password itself gets the password on this
// machine, and over a network without TLS nothing.
func TestReadablePassword(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe() // no address of this machine
	answer := askFor(t, server)
	if err := dial(t, client); !errors.Is(err, hop.ErrReadable) {
		t.Errorf("%v, want %v", err, hop.ErrReadable)
	}
	if got := <-answer; got != "" {
		t.Errorf("the client answered %q", got)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	answer = askFor(t, server)
	if err := dial(t, client); errors.Is(err, hop.ErrReadable) {
		t.Errorf("on this machine: %v", err)
	}
	if got := <-answer; got != "geheim" {
		t.Errorf("on this machine the client answered %q", got)
	}
}

// TestWatcherPassesOn: whatever the messages and their parts, the watcher passes on every byte, and
// refuses exactly where the readable password is asked for before the client was let in.
func TestWatcherPassesOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		isRefused, isIn := false, false
		for range rapid.IntRange(0, 8).Draw(t, "messages") {
			message := rapid.SampledFrom([]pgproto3.BackendMessage{
				&pgproto3.NoticeResponse{Message: "R\x00\x00\x00\x08\x00\x00\x00\x03"},
				&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}},
				&pgproto3.AuthenticationMD5Password{}, &pgproto3.AuthenticationOk{},
				&pgproto3.AuthenticationCleartextPassword{},
				&pgproto3.DataRow{Values: [][]byte{[]byte("R"), nil}},
			}).Draw(t, "message")
			var err error
			if stream, err = message.Encode(stream); err != nil {
				t.Fatal(err)
			}
			switch message.(type) {
			case *pgproto3.AuthenticationOk:
				isIn = true
			case *pgproto3.AuthenticationCleartextPassword:
				isRefused = isRefused || !isIn
			}
		}
		var from io.Reader = bytes.NewReader(stream)
		if rapid.Bool().Draw(t, "isInParts") {
			from = iotest.OneByteReader(from)
		}
		got, err := io.ReadAll(&watcher{from: from})
		if errors.Is(err, hop.ErrReadable) != isRefused ||
			!isRefused && (err != nil || !bytes.Equal(got, stream)) {
			t.Fatalf("refused %v, want %v; %q of %q, %v", err != nil, isRefused, got, stream, err)
		}
	})
}

func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"postgres://lab:ge@geheim@db/shop", "host=geheim@db",
		"postgres://one,lab:a@geheim@db/shop", "host='geheim db'", "host=one,geheim@db",
		"postgres://lab:ge/geheim@db/shop", "postgres://lab:ge?geheim@db/shop",
		"postgres://lab:geheim@db:x/shop", "postgres://lab:%zzgeheim@db/shop",
		"postgresql://db/shop?password=geheim&sslmode=x", "host=db password='geheim",
		"host=db password = 'ge\\' geheim' sslmode=x", "PASSWORD=geheim sslmode=x", "geheim",
		"host=db sslpassword=geheim sslmode=x", "postgres:/lab:geheim@db", "lab:geheim@db/shop",
	} {
		config, err := Parse(dsn)
		switch {
		case err != nil && strings.Contains(err.Error(), "geheim"):
			t.Errorf("%s: %v", dsn, err)
		case err == nil && strings.Contains(config.Host, "geheim"):
			t.Errorf("%s: taken with the host %s", dsn, config.Host)
		}
	}
	for _, dsn := range []string{"", "host=/var/run/postgresql", "host=@abstract", "host=db,db2",
		"postgres://lab@[::1]:5432/shop", "postgres://lab@[fe80::1%25eth0]/shop",
		"postgres://lab:x@db.example.org/shop", "host=my_db-1"} {
		if _, err := Parse(dsn); err != nil {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}
