package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func testDisk(t *testing.T, f *Folder) *Disk {
	t.Helper()
	if err := DiskImpossible(); err != nil {
		t.Skip(err)
	}
	d, err := f.MountDisk("x", nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDisk: a full Disk refuses bytes, keeps what it has, and takes bytes again with room. The
// folder goes with the Disk, full or not.
func TestDisk(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	d := testDisk(t, f)
	if _, err := f.MountDisk("x", nil); err == nil {
		t.Error("a second Disk in one folder")
	}
	// What is no Disk is left alone, and so is what a link leads to.
	if err := os.Symlink(d.path, f.File("link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "none", "link"} {
		if err := unmountDisk(f.File(name)); err != nil {
			t.Error(err)
		}
	}
	page := []byte(strings.Repeat("x", 64<<10))
	write := func(name string) error { return os.WriteFile(d.File(name), page, 0o600) }
	for n := range 3 {
		if err := errors.Join(write("a"), d.Fill()); err != nil {
			t.Fatal(err)
		}
		if err := write(fmt.Sprint("more ", n)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write to a full disk: %v", err)
		}
		if text, err := os.ReadFile(d.File("a")); err != nil || string(text) != string(page) {
			t.Errorf("%d bytes of a file from before, %v", len(text), err)
		}
		if err := errors.Join(d.Free(), d.Free(), write("b")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.Fill(), f.Close(false)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), f.Path) {
		t.Errorf("%v, or still mounted", err)
	}
}

// TestDiskOfADeadLab: the next lab takes a Disk away, also while a child that nobody knows has a
// file open there.
func TestDiskOfADeadLab(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dead, folder, _ := startFakeLab(t, base)
	d := testDisk(t, &Folder{Path: folder})
	reader := exec.Command("sleep", "300")
	var err error
	if reader.Stdin, err = os.Create(d.File("open")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(reader.Start(), d.Fill(), dead.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(reader.Process.Kill(), reader.Wait()) })
	dead.Wait()
	expect.Soon(t, "the folder is gone", func() error {
		err := CleanUp([]string{base}, func(string) {})
		if _, there := os.Stat(folder); there == nil {
			return errors.Join(err, errors.New("still there"))
		}
		return err
	})
}
