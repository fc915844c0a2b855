package compose

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
)

// fakeDocker puts a program docker on PATH that says a version of Compose and the address of an
// engine. An empty version is a docker without Compose.
func fakeDocker(t *testing.T, version, host string) {
	t.Helper()
	folder := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in
compose) [ -n "%[1]s" ] && echo "%[1]s" ;;
context) echo "%[2]s" ;;
esac
`, version, host)
	if err := os.WriteFile(filepath.Join(folder, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":/usr/bin:/bin")
}

// fakeEngine answers as an engine with so much memory does.
func fakeEngine(t *testing.T, memory int64) (host string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.41")
			if strings.HasSuffix(r.URL.Path, "/info") {
				fmt.Fprintf(w, `{"MemTotal": %d, "DockerRootDir": "/srv/engine"}`, memory)
			}
		}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return "tcp://" + listener.Addr().String()
}

func TestWhatIsMissing(t *testing.T) {
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := "tcp://" + process.Loopback(port)
	t.Run("no Docker", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := FindEngine(t.Context())
		wantError(t, err, "docker is not on PATH", "Compose 2.24 or newer")
	})
	for name, c := range map[string]struct {
		version, host string
		want          []string
	}{
		"no Compose":       {"", nobody, []string{"docker has no Compose", "2.24"}},
		"an old Compose":   {"2.5.1", nobody, []string{"compose is 2.5.1, too old", "2.24"}},
		"Compose of 2020":  {"1.29.2", nobody, []string{"compose is 1.29.2, too old"}},
		"no engine":        {"2.40.3", nobody, []string{"no Docker engine answers at " + nobody}},
		"a build":          {"dev", nobody, []string{"no Docker engine answers"}},
		"the first of all": {"v2.24.0", nobody, []string{"no Docker engine answers"}},
	} {
		t.Run(name, func(t *testing.T) {
			fakeDocker(t, c.version, c.host)
			_, err := FindEngine(t.Context())
			wantError(t, err, c.want...)
		})
	}
}

func TestMemory(t *testing.T) {
	const gib = 1 << 30
	fakeDocker(t, "2.40.3", fakeEngine(t, 4*gib))
	e, err := FindEngine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.CheckMemory(t.Context(), false); err != nil {
		t.Errorf("4 GiB are too little for the core: %v", err)
	}
	wantError(t, e.CheckMemory(t.Context(), true), "the Docker engine has 4.0 GiB of memory",
		"takes 5.0 GiB")
}

// TestTakenPort has the words of engines of several years.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	for _, said := range []string{
		"driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:5432 " +
			"failed: port is already allocated",
		"failed to set up container networking: driver failed programming external connectivity " +
			"on endpoint x: Bind for 127.0.0.1:5432 failed: port is already allocated",
		"Error starting userland proxy: listen tcp4 127.0.0.1:5432: bind: address already in use",
		"failed to bind host port for 127.0.0.1:5432:172.18.0.2:5432/tcp: address already in use",
		"ports are not available: exposing port TCP 127.0.0.1:5432 -> 127.0.0.1:0: listen tcp " +
			"127.0.0.1:5432: bind: address already in use",
	} {
		wantError(t, explain(errors.New(said)), "127.0.0.1:5432 is in use by something else")
	}
	other := errors.New("no such image")
	if got := explain(other); got != other {
		t.Errorf("%v became %v", other, got)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want %q in it", err, part)
		}
	}
}
