package programs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func writeFile(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, []byte(text), mode))
	if err != nil {
		t.Fatal(err)
	}
}

// TestCheckWhole: an installed program is taken only unchanged since the installation, also through
// a link.
func TestCheckWhole(t *testing.T) {
	t.Parallel()
	real := filepath.Join(t.TempDir(), "real")
	root := filepath.Join(t.TempDir(), "link")
	jar, cache := filepath.Join(real, "lib", "a.jar"), filepath.Join(real, "__pycache__", "a.pyc")
	if err := checkWhole(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	writeFile(t, jar, "12345", 0o644)
	writeFile(t, cache, "12345", 0o644)
	for link, to := range map[string]string{root: real, filepath.Join(real, "near"): jar} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkWhole(root); !errors.Is(err, errUnsealed) {
		t.Errorf("never fetched whole: %v", err)
	}
	if err := seal(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cache); err != nil {
		t.Fatal(err)
	}
	if err := checkWhole(root); err != nil {
		t.Errorf("as fetched: %v", err)
	}
	writeFile(t, jar, "1234", 0o644)
	expect.Error(t, checkWhole(root), "a.jar has 4 bytes, was fetched with 5")
	if err := os.Remove(jar); err != nil {
		t.Fatal(err)
	}
	expect.Error(t, checkWhole(root), "is missing")
}

// TestStrangeCaches: nothing is taken from a folder where another user may have put the programs,
// and a FIFO in place of the manifest holds nobody up.
func TestStrangeCaches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plant func(cache, root string) error
		want  string // "" where all is sound
	}{
		"nothing strange": {func(string, string) error { return nil }, ""},
		"cache is open": {func(cache, _ string) error {
			return os.Chmod(cache, 0o777)
		}, "open to"},
		"cache is foreign": {func(cache, _ string) error {
			return os.Chown(cache, os.Geteuid()+1, -1)
		}, "belongs to user"},
		"above the cache": {func(cache, _ string) error {
			return os.Chmod(filepath.Dir(cache), 0o777)
		}, "open to"},
		"program is open": {func(_, root string) error { return os.Chmod(root, 0o777) }, "open to"},
		"program is foreign": {func(_, root string) error {
			return os.Chown(root, os.Geteuid()+1, -1)
		}, "belongs to user"},
		"program leads elsewhere": {func(cache, root string) error {
			to := filepath.Join(filepath.Dir(cache), "elsewhere")
			return errors.Join(os.Rename(root, to), os.Chmod(to, 0o777), os.Symlink(to, root))
		}, "open to"},
		"manifest is a FIFO": {func(_, root string) error {
			manifest := filepath.Join(root, manifestName)
			return errors.Join(os.Remove(manifest), syscall.Mkfifo(manifest, 0o600))
		}, "nobody writes"},
		"manifest is a device": {func(_, root string) error {
			manifest := filepath.Join(root, manifestName)
			return errors.Join(os.Remove(manifest), os.Symlink("/dev/zero", manifest))
		}, "is a device"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := filepath.Join(t.TempDir(), "above", "cache")
			root := filepath.Join(cache, "program")
			writeFile(t, filepath.Join(root, "bin", "program"), "#!", 0o755)
			err := seal(root)
			if err == nil {
				err = c.plant(cache, root)
			}
			if errors.Is(err, syscall.EPERM) {
				t.Skip("only root gives files away")
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err = CacheDir(cache); err == nil {
				err = checkWhole(root)
			}
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			expect.Error(t, err, c.want)
		})
	}
}

// TestDamagedPostgres: a cache that is empty, half, or of an older lab is noticed before initdb,
// and fetched again; where nothing can be fetched, the error says what to do.
func TestDamagedPostgres(t *testing.T) {
	t.Parallel()
	whole := func(t *testing.T, root string) {
		for _, name := range wantedOfPostgres {
			text := "#!/bin/sh\necho 'postgres (PostgreSQL) 17.5'\n"
			writeFile(t, filepath.Join(root, strings.Replace(name, "*", "so", 1)), text, 0o755)
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			whole(t, root)
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		make func(t *testing.T, root string)
		want string
	}{
		"of an older lab": {whole, ""},
		"empty": {func(t *testing.T, root string) {
			if err := os.MkdirAll(root, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "bin/postgres is missing"},
		"without initdb":  {remove("bin/initdb"), "bin/initdb is missing"},
		"without catalog": {remove("share/postgresql/postgres.bki"), "postgres.bki is missing"},
		"sealed and cut off": {func(t *testing.T, root string) {
			whole(t, root)
			if err := seal(root); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(root, "share/postgresql/postgres.bki"), "", 0o644)
		}, "postgres.bki has 0 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := t.TempDir()
			root := filepath.Join(cache, "postgres-"+string(fetchedVersion))
			c.make(t, root)
			ctx := t.Context()
			if c.want != "" {
				gone, cancel := context.WithCancel(ctx)
				cancel() // so that nothing can be fetched
				ctx = gone
			}
			var said strings.Builder
			bin, err := fetchPostgres(ctx, cache, func(line string) { said.WriteString(line) })
			if c.want == "" {
				if err != nil || bin != filepath.Join(root, "bin") || checkWhole(root) != nil {
					t.Errorf("%v, %q, %v", err, bin, checkWhole(root))
				}
				return
			}
			expect.Error(t, err, "remove "+root+" and fetch again", c.want)
			if !strings.Contains(said.String(), c.want) {
				t.Errorf("said %q, want %q", &said, c.want)
			}
		})
	}
}

// TestDamagedStandIns: a stand-in with a missing file is no installed one.
func TestDamagedStandIns(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(secantusRSEnv, "")
	cache := t.TempDir()
	slow := secantusPyIn(cache)
	for _, path := range []string{slow.program, filepath.Join(slow.root, "bin", "python"),
		slow.mark,
		filepath.Join(slow.root, "lib", "secantus.py")} {
		writeFile(t, path, "x", 0o755)
	}
	if !slow.installed() { // sealed from here on
		t.Error("a whole installation of an older lab is not taken")
	}
	if err := os.Remove(filepath.Join(slow.root, "lib", "secantus.py")); err != nil {
		t.Fatal(err)
	}
	if slow.installed() {
		t.Error("half an installation is taken")
	}
	fast := filepath.Join(secantusRSRoot(cache), "bin", SecantusRS)
	if path, err := findSecantusRS(cache); err != nil || path != "" {
		t.Errorf("none: %q, %v", path, err)
	}
	writeFile(t, fast, "x", 0o755)
	if path, err := findSecantusRS(cache); err != nil || path != fast {
		t.Errorf("of an older lab: %q, %v", path, err)
	}
	writeFile(t, fast, "", 0o755)
	_, err := findSecantusRS(cache)
	expect.Error(t, err, "has 0 bytes", "`./just fetch` builds the program again")
}
