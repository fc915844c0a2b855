package connector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// nobody is who PostgreSQL runs as when the tests are root, which it refuses.
const nobody = 65534

// server is a PostgreSQL of the tests' own.
type server struct {
	dir, binDir string
	port        int
	postmaster  *exec.Cmd
}

// shared is the server of all tests but those that break it; each test has its own database.
var shared = sync.OnceValues(startServer)

var sharedUsed atomic.Bool

func TestMain(m *testing.M) {
	code := m.Run()
	if sharedUsed.Load() {
		if s, err := shared(); err == nil {
			s.end()
		}
	}
	os.Exit(code)
}

func sharedServer(t *testing.T) *server {
	t.Helper()
	sharedUsed.Store(true)
	s, err := shared()
	if err != nil {
		t.Skip("no PostgreSQL to test with: ", err)
	}
	return s
}

func ownServer(t *testing.T) *server {
	t.Helper()
	s, err := startServer()
	if err != nil {
		t.Skip("no PostgreSQL to test with: ", err)
	}
	t.Cleanup(s.end)
	return s
}

// binaries are those of CDCLAB_POSTGRES (a folder that holds bin), else those on PATH.
func binaries() (string, error) {
	if dir := os.Getenv("CDCLAB_POSTGRES"); dir != "" {
		return filepath.Join(dir, "bin"), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("set CDCLAB_POSTGRES: %w", err)
	}
	path, err = filepath.EvalSymlinks(path)
	return filepath.Dir(path), err
}

func startServer() (*server, error) {
	binDir, err := binaries()
	if err != nil {
		return nil, err
	}
	base := os.TempDir()
	if _, err := os.Stat("/dev/shm"); err == nil {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "connector-test-*")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, binDir: binDir}
	if err := s.initialise(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.start(); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.binDir, name), args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return c
}

func (s *server) initialise() error {
	if os.Geteuid() == 0 {
		if err := os.Chown(s.dir, nobody, nobody); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return err
	}
	out, err := s.command("initdb", "-D", s.dir, "-U", "postgres", "-A", "trust", "-E", "UTF8",
		"--locale", "C", "-N").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// start starts the postmaster and returns when it answers.
func (s *server) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(s.port), "unix_socket_directories": "",
		"wal_level": "logical", "max_wal_senders": "60", "max_replication_slots": "60",
		"dynamic_shared_memory_type": "mmap", "shared_buffers": "64MB", "max_connections": "200",
	}
	args := []string{"-D", s.dir}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	s.postmaster = s.command("postgres", args...)
	s.postmaster.Stdout, s.postmaster.Stderr = log, log
	if err := s.postmaster.Start(); err != nil {
		return err
	}
	deadline := time.After(time.Minute)
	for {
		conn, err := pgx.Connect(context.Background(), s.dsn("postgres"))
		if err == nil {
			return conn.Close(context.Background())
		}
		select {
		case <-deadline:
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// signal signals the postmaster and, with SIGKILL, its children, and waits for its end.
func (s *server) signal(signal syscall.Signal) {
	pid := s.postmaster.Process.Pid
	if signal == syscall.SIGKILL {
		for _, child := range childrenOf(pid) {
			_ = syscall.Kill(child, signal)
		}
	}
	_ = syscall.Kill(pid, signal)
	_ = s.postmaster.Wait()
}

// childrenOf asks pgrep: backends are sessions of their own, so the process group does not hold them.
func childrenOf(pid int) []int {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	var children []int
	for _, field := range strings.Fields(string(out)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}

func (s *server) end() {
	if s.postmaster != nil && s.postmaster.ProcessState == nil {
		s.signal(syscall.SIGQUIT)
	}
	_ = os.RemoveAll(s.dir)
}

func (s *server) dsn(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: database,
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), RawQuery: "sslmode=disable"}
	return u.String()
}
