package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindPostgresInGivenFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := FindPostgres(t.Context(), dir, "", func(string) {}); err == nil ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want one that names %s", err, dir)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"initdb": "#!/bin/sh\n", "postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) 13.2'\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := FindPostgres(t.Context(), dir, "", func(string) {}); err == nil ||
		!strings.Contains(err.Error(), "it is PostgreSQL 13") {
		t.Errorf("error %v, want one about 13", err)
	}
}
