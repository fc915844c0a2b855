package postgres

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
)

// fakePrograms makes a folder of programs printing their user, with private files beside, and
// returns the folder's bin.
func fakePrograms(t *testing.T, root string) (bin string) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{
		"bin/postgres": 0o755, "bin/initdb": 0o755, "lib/real.so": 0o644,
		"share/postgresql/postgres.bki": 0o600, "secret": 0o644, "private/key": 0o644,
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\nid -u\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"lib/near.so": "real.so", "lib/far.so": filepath.Join(root, "lib", "real.so"),
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "bin")
}

// reachablePrograms is a Server with programs within reach of the server's user.
func reachablePrograms(t *testing.T, bin string) *Server {
	t.Helper()
	f, err := process.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(false); err != nil {
			t.Error(err)
		}
	})
	p, err := New(f, bin, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p.owner == nil {
		t.Skip("the lab is not root: PostgreSQL has the lab's user")
	}
	if err := p.makeReachable(); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestProgramsInAClosedPlace: programs in a folder for root alone are copied, also behind a link
// from an open place; the copy has the parts for PostgreSQL, readable by PostgreSQL's user alone.
func TestProgramsInAClosedPlace(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "home")
	bin := fakePrograms(t, filepath.Join(closed, "cache", "postgres"))
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for of, path := range map[string]string{"cache": bin,
		"link to the cache": filepath.Join(linkTo(t, filepath.Join(closed, "cache")),
			"postgres/bin"),
		"link to bin": linkTo(t, bin)} {
		p := reachablePrograms(t, path)
		if p.binDir != p.Folder.File("postgres-programs/bin") {
			t.Fatalf("%s: programs in %s, want a copy", of, p.binDir)
		}
		if err := runTool(t.Context(), p.owner, filepath.Join(p.binDir, "postgres")); err != nil {
			t.Errorf("%s: %v", of, err)
		}
		root, files := filepath.Dir(p.binDir), 0
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			files++
			name, _ := filepath.Rel(root, path)
			part, _, _ := strings.Cut(name, "/")
			group := info.Sys().(*syscall.Stat_t).Gid
			if !strings.Contains(". bin lib share", part) || info.Mode().Perm()&0o027 != 0 ||
				group != p.owner.Gid || info.Mode()&fs.ModeSymlink != 0 {
				t.Errorf("%s: %s %v, group %d", of, name, info.Mode(), group)
			}
			return nil
		})
		if err != nil || files != 1+3+1+2+3+1 {
			t.Errorf("%s: %d files and folders, %v", of, files, err)
		}
	}
}

func linkTo(t *testing.T, path string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestStrangersDoNotEnter: another program of PostgreSQL's user, but without its group, reads no
// file of the lab's.
func TestStrangersDoNotEnter(t *testing.T) {
	t.Parallel()
	open, err := os.MkdirTemp("", "cdclab-test-open-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(open)
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	p := reachablePrograms(t, fakePrograms(t, open))
	if p.binDir != filepath.Join(open, "bin") {
		t.Fatalf("programs in %s, want them where they are", p.binDir)
	}
	if err := os.Mkdir(p.dataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.own(p.dataDir()); err != nil {
		t.Fatal(err)
	}
	stranger := *p.owner
	stranger.Gid = 65534
	if err := runTool(t.Context(), p.owner, "/bin/ls", p.dataDir()); err != nil {
		t.Errorf("PostgreSQL's user: %v", err)
	}
	err = runTool(t.Context(), &stranger, "/bin/ls", p.dataDir())
	if err == nil || !strings.Contains(fmt.Sprint(err), "denied") {
		t.Errorf("a stranger: %v, want no permission", err)
	}
}
