package servertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func TestPrometheusThatIsTooOld(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "prometheus")
	script := "#!/bin/sh\necho unknown long flag --web.enable-otlp-receiver; exit 2\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := StartPrometheus(expect.Context(t), program)
	expect.Error(t, err, "prometheus", "unknown long flag")
}
