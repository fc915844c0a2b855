package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestHold: what an open connection sends is held, also while other toxics come and go, and
// delivered at the end although the client is gone; a connection opened later passes before.
func TestHold(t *testing.T) {
	t.Parallel()
	server := newEcho(t)
	p, err := Start(ConsumerMongo, server.address)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	wantHolds(t, p, server)
}

func wantHolds(t *testing.T, p *Proxy, server *echo) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", p.Listen())
		must(err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	stays, leaves := dial(), dial()
	roundTrip(t, stays)
	roundTrip(t, leaves)
	must(p.Add(Toxic{Type: "latency", Upstream: true, Attributes: map[string]any{"latency": 1}}))
	must(p.Hold())
	for _, conn := range []net.Conn{stays, leaves} {
		_, err := conn.Write([]byte("later"))
		must(err)
	}
	must(leaves.Close())
	expect.True(t, "both writes are held", func() bool {
		n, err := p.Held()
		return err == nil && n == 10
	})
	must(p.Remove("latency"))
	must(p.Add(Toxic{Type: "slicer", Upstream: true, Attributes: map[string]any{
		"average_size": 2, "size_variation": 1}}))
	expect.True(t, "a connection opened later passes", func() bool {
		conn := dial()
		must(conn.SetDeadline(time.Now().Add(time.Second)))
		_, writeErr := conn.Write([]byte("!"))
		_, readErr := conn.Read(make([]byte, 1))
		return writeErr == nil && readErr == nil
	})
	if got := server.received(); strings.Contains(got, "later") {
		t.Errorf("the server got %q before the end", got)
	}
	must(p.Remove("slicer"))
	must(p.Deliver())
	must(stays.SetDeadline(time.Now().Add(expect.Patience)))
	answer := make([]byte, len("later"))
	if _, err := io.ReadFull(stays, answer); err != nil || string(answer) != "later" {
		t.Errorf("delivered %q, %v", answer, err)
	}
	roundTrip(t, stays)
	expect.True(t, "the write of the client that is gone is delivered, too", func() bool {
		return strings.Count(server.received(), "later") == 2
	})
}
