package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/rs/zerolog"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// echo is a server that sends every byte back, and keeps what came, of all connections together.
type echo struct {
	address string
	mu      sync.Mutex
	got     bytes.Buffer
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	e := &echo{address: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, io.TeeReader(conn, e))
			}()
		}
	}()
	return e
}

func (e *echo) Write(packet []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got.Write(packet)
}

func (e *echo) received() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got.String()
}

// roundTrip sends "hello" and returns the time until "hello" is back.
func roundTrip(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(expect.Patience)); err != nil {
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
	p, err := Start(ConsumerMongo, newEcho(t).address)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	wantDelaysAndCounts(t, p)
}

func wantDelaysAndCounts(t *testing.T, p *Proxy) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Listen())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	roundTrip(t, conn)
	if in, out, err := p.Bytes(); err != nil || in != 5 || out != 5 {
		t.Errorf("counted %d in and %d out on an open connection, want 5 and 5 (%v)", in, out, err)
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
	expect.True(t, "it is fast again", func() bool {
		return roundTrip(t, conn) < 100*time.Millisecond
	})
	if in, out, err := p.Bytes(); err != nil || in < 15 || in != out {
		t.Errorf("counted %d in and %d out (%v)", in, out, err)
	}
}

// serveEnv makes the test binary the program of a container: the value is the API's address and the
// file of the proxies.
const serveEnv = "CDCLAB_TEST_SERVES_PROXIES"

func TestMain(m *testing.M) {
	if address, file, ok := strings.Cut(os.Getenv(serveEnv), " "); ok {
		fmt.Fprintln(os.Stderr, Serve(address, file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve is the program of a container.
func serve(t *testing.T, api, file string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program)
	child.Env = append(os.Environ(), serveEnv+"="+api+" "+file)
	return child
}

// served is the container's program without a container, with a Proxy to the server. The API's
// address is the first of the addresses, the Proxy's the second.
func served(t *testing.T, server *echo) (child *exec.Cmd, addresses [2]string, file string) {
	t.Helper()
	for i := range addresses {
		port, err := process.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = process.Loopback(port)
	}
	file = filepath.Join(t.TempDir(), "toxiproxy.json")
	text := fmt.Sprintf(`[{"name": %q, "listen": %q, "upstream": %q, "enabled": true}]`,
		ConsumerMongo, addresses[1], server.address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	child = serve(t, addresses[0], file)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	expect.Soon(t, "the container answers", func() error {
		_, _, err := At(addresses[0], ConsumerMongo, addresses[1]).Bytes()
		return err
	})
	return child, addresses, file
}

// TestAttach: what a lab that died has left at a person's proxy is undone, and nothing else.
func TestAttach(t *testing.T) {
	t.Parallel()
	server := newEcho(t)
	_, addresses, _ := served(t, server)
	dead := At(addresses[0], ConsumerMongo, addresses[1])
	conn, err := net.Dial("tcp", addresses[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	roundTrip(t, conn)
	for _, name := range []string{FaultPrefix + "latency-up", "theirs"} {
		if err := dead.Add(Toxic{Name: name, Type: "latency", Upstream: true,
			Attributes: map[string]any{"latency": 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := dead.Hold(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	expect.True(t, "bytes are held", func() bool {
		n, err := dead.Held()
		return err == nil && n == 4
	})
	p, err := Attach(addresses[0], ConsumerMongo)
	if err != nil || p.Listen() != addresses[1] || p.Name() != ConsumerMongo {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Errorf("what was held: %v", err)
	}
	expect.Error(t, p.Remove(FaultPrefix+"latency-up"), "remove toxic")
	if err := p.Remove("theirs"); err != nil {
		t.Error(err)
	}
	_, err = Attach(addresses[0], ConsumerKafka)
	expect.Error(t, err, "look for proxy consumer-kafka of the Toxiproxy at "+addresses[0])
	if err := p.Remove(counterName(stream.Downstream)); err != nil {
		t.Fatal(err)
	}
	_, err = Attach(addresses[0], ConsumerMongo)
	expect.Error(t, err, "counts no bytes", "not served by cdclab's own Toxiproxy")
}

// TestProxyOfAContainer has the container's program without a container.
func TestProxyOfAContainer(t *testing.T) {
	t.Parallel()
	server := newEcho(t)
	child, addresses, file := served(t, server)
	p := At(addresses[0], ConsumerMongo, addresses[1])
	wantDelaysAndCounts(t, p)
	wantHolds(t, p, server)
	if err := p.Remove(counterName(stream.Upstream)); err != nil {
		t.Fatal(err)
	}
	_, _, err := p.Bytes()
	expect.Error(t, err, ConsumerMongo, "took the counters away")
	if err := os.WriteFile(file, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := serve(t, addresses[0], file).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "address already in use") {
		t.Errorf("a second program at the same address says %q (%v)", said, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	in, out, err := p.Bytes()
	expect.Error(t, err, "count the bytes through "+ConsumerMongo)
	if in != 0 || out != 0 {
		t.Errorf("counted %d in and %d out", in, out)
	}
}

func TestProxyRefusesUnknownToxics(t *testing.T) {
	t.Parallel()
	p, err := Start(ConsumerMongo, newEcho(t).address)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for _, toxic := range []Toxic{
		{Type: "lightning"},
		{Type: counterType},
		{Type: "latency", Attributes: map[string]any{"latency": "much"}},
	} {
		if err := p.Add(toxic); err == nil || !strings.Contains(err.Error(), toxic.Type) {
			t.Errorf("%v: got %v, want an error that names it", toxic, err)
		}
	}
}

// TestToxicsAreSilent: no toxic writes to standard error, where a lab shows its progress.
func TestToxicsAreSilent(t *testing.T) {
	t.Parallel()
	p, err := Start("consumer-mongo", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	if level := zerolog.GlobalLevel(); level < zerolog.FatalLevel {
		t.Errorf("the level of Toxiproxy's own logger is %v, want %v", level, zerolog.FatalLevel)
	}
}
