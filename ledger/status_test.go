package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStatusRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "status")
	if _, err := ReadStatus(path); err == nil {
		t.Error("read a status that is not there")
	}
	want := Status{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if err := want.Store(path); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadStatus(path); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStatus(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want the file named", err)
	}
	if err := want.Store(filepath.Join(path, "x")); err == nil {
		t.Error("stored under a file")
	}
}
