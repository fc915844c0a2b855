package expect

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const (
	// SkippedEnv names the file to which each skip for want of a server appends a line.
	SkippedEnv = "CDCLAB_SKIPPED"
	// RequireEnv set to 1 has a test fail for want of a server.
	RequireEnv = "CDCLAB_REQUIRE_SERVERS"
)

// Skip is one line of the file that SkippedEnv names.
type Skip struct {
	// Dir is the folder of the test's package.
	Dir string `json:"dir"`
	// Test is the name of the test, such as "TestStore/guard".
	Test string `json:"test"`
	// Lacks says what no server has, such as "change streams".
	Lacks string `json:"lacks"`
}

// home is where `go test` starts a test binary: the folder of the package.
var home, errHome = os.Getwd()

// Lacking skips a test because no server of this machine has what the test needs, or fails the test
// where servers are required.
func Lacking(t testing.TB, what string, why error) {
	t.Helper()
	if os.Getenv(RequireEnv) == "1" {
		t.Fatalf("no server with %s: %v", what, why)
	}
	if path := os.Getenv(SkippedEnv); path != "" {
		if err := note(path, Skip{home, t.Name(), what}); err != nil {
			t.Fatal(err)
		}
	}
	t.Skipf("no server with %s: %v", what, why)
}

func note(path string, skip Skip) error {
	line, err := json.Marshal(skip)
	if err := errors.Join(errHome, err, os.MkdirAll(filepath.Dir(path), 0o755)); err != nil {
		return fmt.Errorf("note that %s is skipped: %w", skip.Test, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("note that %s is skipped: %w", skip.Test, err)
	}
	// One write appends whole lines, also where several tests append at once.
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
