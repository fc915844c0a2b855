package cdc

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// server is a stand-in for MongoDB as a child process.
type server struct {
	program, folder, port string
	flags                 []string
	child                 *exec.Cmd
}

// startServer skips the test where no stand-in is installed.
func startServer(t testing.TB, flags ...string) *server {
	t.Helper()
	s := &server{program: findServer(), folder: t.TempDir(), port: "0", flags: flags}
	if s.program == "" {
		t.Skip("no secantusd-rs: set CDCLAB_SECANTUSD_RS, put it on PATH, or run ./just fetch")
	}
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func findServer() string {
	const name = "secantusd-rs"
	places := []string{os.Getenv("CDCLAB_SECANTUSD_RS")}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "cdclab", name, "bin"))
	}
	for _, place := range places {
		for _, path := range []string{place, filepath.Join(place, name)} {
			if info, err := os.Stat(path); place != "" && err == nil && info.Mode().IsRegular() {
				return path
			}
		}
	}
	path, _ := exec.LookPath(name)
	return path
}

var listening = regexp.MustCompile(`listening on 127\.0\.0\.1:(\d+)`)

func (s *server) start(t testing.TB) {
	t.Helper()
	flags := append([]string{"--host", "127.0.0.1", "--port", s.port, "--storage-path", filepath.Join(s.folder, "data"),
		"--cache-size", "64M", "--log-file-max", "8MB", "--sync-on-commit"}, s.flags...)
	s.child = exec.Command(s.program, flags...)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.child.Stdout, s.child.Stderr = writer, writer
	if err := s.child.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	lines := bufio.NewScanner(reader)
	var log []string
	for lines.Scan() {
		log = append(log, lines.Text())
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			s.port = found[1]
			go func() { // keeps the pipe from filling up
				for lines.Scan() {
				}
				reader.Close()
			}()
			return
		}
	}
	t.Fatalf("%s did not start:\n%s", s.program, strings.Join(log, "\n"))
}

// kill ends the server as a crash would.
func (s *server) kill() {
	_ = s.child.Process.Kill()
	_ = s.child.Wait()
}

func (s *server) uri() string { return "mongodb://127.0.0.1:" + s.port + "/?directConnection=true" }

func (s *server) client(t testing.TB) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(s.uri()).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
