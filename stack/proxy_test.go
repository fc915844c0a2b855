package stack

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// roundTrip sends "hello" and returns how long it took to come back.
func roundTrip(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 5)
	if _, err := io.ReadFull(conn, back); err != nil {
		t.Fatal(err)
	}
	if string(back) != "hello" {
		t.Fatalf("got %q back", back)
	}
	return time.Since(start)
}

func TestProxyDelaysAndCounts(t *testing.T) {
	t.Parallel()
	p, err := startProxy(ConsumerMongo, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	conn, err := net.Dial("tcp", p.Listen())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	roundTrip(t, conn)
	if in, out := p.Bytes(); in != 5 || out != 5 {
		t.Errorf("counted %d in and %d out on an open connection, want 5 and 5", in, out)
	}
	if err := p.AddLatency(100); err != nil {
		t.Fatal(err)
	}
	if took := roundTrip(t, conn); took < 100*time.Millisecond {
		t.Errorf("with 100 ms of latency a round trip took %v", took)
	}
	if err := p.AddLatency(50); err == nil {
		t.Error("a second toxic of that name was accepted")
	}
	if err := p.Remove("latency"); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove("latency"); err == nil {
		t.Error("removing what is not there is no error")
	}
	// The fastest of some: another test may have the processor just now.
	eventually(t, "it is fast again", func() bool { return roundTrip(t, conn) < 100*time.Millisecond })
	if in, out := p.Bytes(); in < 15 || in != out {
		t.Errorf("counted %d in and %d out", in, out)
	}
}

func TestProxyRefusesUnknownToxics(t *testing.T) {
	t.Parallel()
	p, err := startProxy(ConsumerMongo, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	for _, toxic := range []Toxic{
		{Type: "lightning"},
		{Type: byteCounterType},
		{Type: "latency", Attributes: map[string]any{"latency": "much"}},
	} {
		if err := p.Add(toxic); err == nil || !strings.Contains(err.Error(), toxic.Type) {
			t.Errorf("%v: got %v, want an error that names it", toxic, err)
		}
	}
}
