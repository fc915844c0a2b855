package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestSlowStandInIsInstalledOnce: two labs install at once, as on the first Up of each, and a
// reader of the results gets a note.
func TestSlowStandInIsInstalledOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("may install a program")
	}
	cache, err := CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(expect.Context(t))
	for range 2 {
		group.Go(func() error {
			_, err := FindMongo(ctx, SecantusPy, cache, func(line string) { t.Log(line) })
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if note := MongoNote(SecantusPy); !strings.Contains(note, "./just fetch") {
		t.Errorf("the note %q does not say what to do", note)
	}
}

// TestKindOfMongo: the wanted kind is found, whatever else there is.
func TestKindOfMongo(t *testing.T) {
	bin, cache := t.TempDir(), t.TempDir()
	for _, name := range []string{Mongod, SecantusRS} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	t.Setenv(secantusRSEnv, "")
	for kind, want := range map[string]string{"": Mongod, Mongod: Mongod, SecantusRS: SecantusRS} {
		t.Setenv(mongoKindEnv, kind)
		found, err := FindMongo(t.Context(), "", cache, nil)
		if err != nil || found != (MongoProgram{want, filepath.Join(bin, want)}) {
			t.Errorf("kind %q: found %v (%v)", kind, found, err)
		}
	}
	_, err := FindMongo(t.Context(), SecantusPy, cache, nil)
	expect.Error(t, err, "python3")
	t.Setenv(mongoKindEnv, "couchdb")
	_, err = FindMongo(t.Context(), "", cache, nil)
	expect.Error(t, err, mongoKindEnv, "couchdb", SecantusPy)
	t.Setenv("PATH", t.TempDir())
	_, err = FindMongo(t.Context(), SecantusRS, cache, nil)
	expect.Error(t, err, SecantusRS, "./just fetch")
}

func TestFindMongoSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(secantusRSEnv, "")
	t.Setenv(mongoKindEnv, "")
	_, err := FindMongo(expect.Context(t), "", t.TempDir(), func(string) {})
	expect.Error(t, err, "mongod", "secantusd-rs", "./just fetch", "python3")
	missing := filepath.Join(t.TempDir(), "nothing")
	t.Setenv(secantusRSEnv, missing)
	_, err = FindMongo(expect.Context(t), "", t.TempDir(), func(string) {})
	expect.Error(t, err, missing)
}
