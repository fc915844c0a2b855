package faults

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// echo is a server behind a real proxy; the server returns what it gets.
func echo(t *testing.T) Site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	p, err := proxy.Start(proxy.ConsumerMongo, listener.Addr().String())
	must(t, err)
	t.Cleanup(p.Stop)
	return Site{Target: proxy.ConsumerMongo, Wire: wireOf(p)}
}

// talk sends bytes through the proxy and returns how long the answer took, and the error.
func talk(t *testing.T, s Site, size int, patience time.Duration) (time.Duration, error) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Wire.Listen)
	must(t, err)
	defer conn.Close()
	began := time.Now()
	must(t, conn.SetDeadline(began.Add(patience)))
	sent := make(chan error, 1)
	go func() { _, err := conn.Write(make([]byte, size)); sent <- err }()
	_, err = io.ReadFull(conn, make([]byte, size))
	took := time.Since(began)
	conn.Close()
	<-sent
	return took, err
}

const (
	soon   = 10 * time.Second // an answer comes before, however busy the machine is
	silent = 300 * time.Millisecond
)

// TestToxics: each fault disturbs a real connection as the fault's name says, in the fault's
// direction, and no more after the fault's end.
func TestToxics(t *testing.T) {
	t.Parallel()
	timesOut := func(_ time.Duration, err error) bool {
		var late net.Error
		return errors.As(err, &late) && late.Timeout()
	}
	ends := func(_ time.Duration, err error) bool {
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, syscall.ECONNRESET)
	}
	takes := func(least time.Duration) func(time.Duration, error) bool {
		return func(took time.Duration, err error) bool { return err == nil && took >= least }
	}
	const kib = 1 << 10
	for name, c := range map[string]struct {
		fault    string
		with     Values
		size     int
		patience time.Duration
		want     func(time.Duration, error) bool
	}{
		"latency": {"latency", Values{"latency": "60ms"}, 10, soon,
			takes(120 * time.Millisecond)},
		"latency up": {"latency", Values{"latency": "60ms", "direction": up}, 10, soon,
			takes(60 * time.Millisecond)},
		"bandwidth": {"bandwidth", Values{"rate": "64"}, 16 * kib, soon,
			takes(240 * time.Millisecond)},
		"partition":      {"partition", nil, 10, silent, timesOut},
		"partition up":   {"partition", Values{"direction": up}, 10, silent, timesOut},
		"partition down": {"partition", Values{"direction": down}, 10, silent, timesOut},
		"timeout":        {"timeout", Values{"timeout": "50ms"}, 10, soon, ends},
		"reset-peer":     {"reset-peer", nil, 10, soon, ends},
		"limit-data":     {"limit-data", Values{"bytes": "1000"}, 4 * kib, soon, ends},
		"slicer": {"slicer", Values{"size": "100", "delay-us": "10000", "direction": down}, kib,
			soon, takes(80 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind, _ := Find(c.fault)
			site := echo(t)
			site.With = c.with.WithDefaults(kind)
			i := kind.Bind(site)
			must(t, i.Inject(t.Context()))
			if took, err := talk(t, site, c.size, c.patience); !c.want(took, err) {
				t.Errorf("took %v, error %v", took, err)
			}
			proven(t, i, "bytes through proxy consumer-mongo with chaos-"+c.fault+"-", "")
			must(t, i.Undo(t.Context()))
			if _, err := talk(t, site, c.size, soon); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

// TestHold: what an open connection sends comes at the end, and the evidence counts the bytes held.
func TestHold(t *testing.T) {
	t.Parallel()
	kind, _ := Find("hold")
	site := echo(t)
	conn, err := net.Dial("tcp", site.Wire.Listen)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(soon)))
	send := func() { _, err := conn.Write([]byte(".")); must(t, err) }
	answered := func() { _, err := io.ReadFull(conn, make([]byte, 1)); must(t, err) }
	send()
	answered()
	i := kind.Bind(site)
	must(t, i.Inject(t.Context()))
	proven(t, i, "", "no bytes through proxy consumer-mongo")
	if _, err := talk(t, site, 10, soon); err != nil {
		t.Errorf("a connection opened later: %v", err)
	}
	proven(t, i, "", "proxy consumer-mongo holds nothing")
	send()
	expect.True(t, "a byte is held", func() bool {
		evidence, _ := i.During(t.Context())
		return evidence == "proxy consumer-mongo holds 1 bytes"
	})
	must(t, i.Undo(t.Context()))
	answered()
}

// TestSlowClose: the evidence is a close of the lab's own, and a toxic that somebody took away
// leaves none.
func TestSlowClose(t *testing.T) {
	t.Parallel()
	kind, _ := Find("slow-close")
	site := echo(t)
	site.With = Values{"delay": "150ms"}.WithDefaults(kind)
	i := kind.Bind(site)
	must(t, i.Inject(t.Context()))
	proven(t, i, "", "no bytes through proxy")
	if _, err := talk(t, site, 10, soon); err != nil {
		t.Fatal(err)
	}
	proven(t, i, "; a close took ", "")
	must(t, site.Wire.Remove("chaos-slow-close-down"))
	proven(t, i, "", "closed after")
	err := i.Undo(t.Context())
	if err == nil || !strings.Contains(err.Error(), "chaos-slow-close") {
		t.Errorf("a toxic that is not there was taken away: %v", err)
	}
}

// TestLimitNotReached: a limit of data that no connection reaches is no evidence.
func TestLimitNotReached(t *testing.T) {
	t.Parallel()
	kind, _ := Find("limit-data")
	site := echo(t)
	site.With = Values{"bytes": "1000000"}.WithDefaults(kind)
	i := kind.Bind(site)
	must(t, i.Inject(t.Context()))
	if _, err := talk(t, site, 1000, soon); err != nil {
		t.Fatal(err)
	}
	proven(t, i, "", "reach no limit of 1000000")
	must(t, i.Undo(t.Context()))
}

// TestBypassed: a fault on a proxy that nobody goes through is not proven.
func TestBypassed(t *testing.T) {
	t.Parallel()
	for _, kind := range Table() {
		if !kind.OnProxy() {
			continue
		}
		site := echo(t)
		site.With = Values{}.WithDefaults(kind)
		for _, p := range kind.Parameters {
			if site.With[p.Name] == "" {
				site.With[p.Name] = p.Example()
			}
		}
		i := kind.Bind(site)
		must(t, i.Inject(t.Context()))
		proven(t, i, "", "no bytes through proxy consumer-mongo: it is bypassed")
		must(t, i.Undo(t.Context()))
	}
}
