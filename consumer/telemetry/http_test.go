package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProfiles are served only when asked for.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "address")
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		served, err := Serve("127.0.0.1:0", file, on, NewMetrics(), log)
		if err != nil {
			t.Fatal(err)
		}
		address, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Get("http://" + strings.TrimSpace(string(address)) +
			"/debug/pprof/heap")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if want := map[bool]int{false: http.StatusNotFound,
			true: http.StatusOK}[on]; response.StatusCode != want {
			t.Errorf("--pprof=%v: %s", on, response.Status)
		}
		if err := served.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}
