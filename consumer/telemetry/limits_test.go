package telemetry

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory, which know the time of a bubble.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialed:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial returns the client's end once the server has the other end, or nil after a minute.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	select {
	case p.dialed <- server:
		return client
	case <-time.After(time.Minute):
		return nil
	}
}

// A client that is slow at anything loses its connection.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	const request = "GET / HTTP/1.1\r\nHost: localhost\r\n"
	drip := func(conn net.Conn, text string) {
		for {
			for _, b := range []byte(text) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				<-time.After(time.Second)
			}
		}
	}
	for name, c := range map[string]struct {
		talk   func(net.Conn)
		within time.Duration
	}{
		"says nothing":       {func(net.Conn) {}, headerLimit},
		"a header by drips":  {func(c net.Conn) { drip(c, request) }, headerLimit},
		"an endless header":  {func(c net.Conn) { drip(c, "X: y\r\n") }, headerLimit},
		"a body by drips":    {func(c net.Conn) { bodyByDrips(c, request, drip) }, readLimit},
		"stays after a page": {func(c net.Conn) { io.WriteString(c, request+"\r\n") }, idleLimit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				server := ServePages(p, http.HandlerFunc(func(w http.ResponseWriter,
					r *http.Request) {
					io.Copy(io.Discard, r.Body)
					io.WriteString(w, "page")
				}))
				defer server.Close()
				conn, began, talked := p.dial(), time.Now(), make(chan struct{})
				go func() { c.talk(conn); close(talked) }()
				io.Copy(io.Discard, conn)
				if took := time.Since(began); took > c.within+time.Second {
					t.Errorf("kept for %v, want at most %v", took, c.within)
				}
				conn.Close()
				<-talked // no time passes in the bubble after its main function
			})
		})
	}
}

func bodyByDrips(conn net.Conn, request string, drip func(net.Conn, string)) {
	io.WriteString(conn, request+"Content-Length: 1000000\r\n\r\n")
	drip(conn, "x")
}

// A client that asks and does not read loses its connection.
func TestClientsThatDoNotReadAreCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, ended := newPipes(), make(chan error)
		server := ServePages(p, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<16))
			}
			ended <- err
		}))
		defer server.Close()
		conn, began := p.dial(), time.Now()
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if err := <-ended; errors.Is(err, io.ErrClosedPipe) || time.Since(began) > writeLimit {
			t.Errorf("%v after %v, want an end within %v", err, time.Since(began), writeLimit)
		}
	})
}

// Connections above the limit wait, and are served when others end.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		server := ServePages(p, http.NotFoundHandler())
		defer server.Close()
		held := make([]net.Conn, mostConnections)
		for n := range held {
			held[n] = p.dial()
			go io.Copy(io.Discard, held[n])
		}
		began := time.Now()
		late := p.dial()
		if waited := time.Since(began); waited != headerLimit {
			t.Errorf("one more connection waited %v, want %v", waited, headerLimit)
		}
		go io.WriteString(late, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		answer, err := bufio.NewReader(late).ReadString('\n')
		if !strings.Contains(answer, "404") {
			t.Errorf("%q, %v", answer, err)
		}
		for _, conn := range append(held, late) {
			conn.Close()
		}
	})
}

// A header above the limit is refused.
func TestHeadersAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		server := ServePages(p, http.NotFoundHandler())
		defer server.Close()
		conn := p.dial()
		defer conn.Close()
		go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+
			strings.Repeat("x", mostHeader*2)+"\r\n\r\n")
		if answer, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(answer, "431") {
			t.Errorf("%q, %v", answer, err)
		}
		<-time.After(time.Second) // the server gives the client time to read the refusal
	})
}

// Profiles are for programs of this machine.
func TestProfilesAreForLoopback(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	serveProfiles(mux)
	for _, c := range []struct {
		from, host string
		want       int
	}{
		{"127.0.0.1:1", "127.0.0.1:9090", http.StatusOK},
		{"127.9.9.9:1", "localhost:9090", http.StatusOK},
		{"[::1]:1", "[::1]:9090", http.StatusOK},
		{"[::ffff:127.0.0.1]:1", "localhost", http.StatusOK},
		{"10.0.0.1:1", "localhost:9090", http.StatusForbidden},
		{"[fe80::1]:1", "localhost:9090", http.StatusForbidden},
		{"127.0.0.1:1", "evil.example.org", http.StatusForbidden},
		{"127.0.0.1:1", "127.0.0.1.evil.example.org:9090", http.StatusForbidden},
		{"127.0.0.1:1", "", http.StatusForbidden},
		{"nonsense", "localhost", http.StatusForbidden},
	} {
		for _, page := range []string{"", "heap", "symbol", "goroutine?debug=2", "cmdline"} {
			r := httptest.NewRequest(http.MethodGet, "/debug/pprof/"+page, nil)
			r.RemoteAddr, r.Host = c.from, c.host
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			if page == "cmdline" && c.want == http.StatusOK {
				continue // served by no handler of its own
			}
			if w.Code != c.want {
				t.Errorf("%s from %s by %q: %d, want %d", page, c.from, c.host, w.Code, c.want)
			}
		}
	}
}
