package wholefile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// errBroken is the answer of a broken disk.
var errBroken = errors.New("no space left on device")

// brokenDisk is a file system that breaks after a number of units: each byte written is a unit, and
// so is each other call. Like a real disk, brokenDisk may lose at a power cut what was not synced:
// the content of a file, and the entries of the folder.
type brokenDisk struct {
	left int
	// written and synced are the contents of the files by their number; entries and kept are the
	// folder as the process sees the folder, and as a power cut leaves the folder.
	written, synced map[int][]byte
	entries, kept   map[string]int
}

func newBrokenDisk(left int, old string) *brokenDisk {
	return &brokenDisk{left: left,
		written: map[int][]byte{0: []byte(old)}, synced: map[int][]byte{0: []byte(old)},
		entries: map[string]int{"run.json": 0}, kept: map[string]int{"run.json": 0}}
}

func (d *brokenDisk) spend() error {
	if d.left <= 0 {
		return errBroken
	}
	d.left--
	return nil
}

func (d *brokenDisk) create(path string) (file, error) {
	if err := d.spend(); err != nil {
		return nil, err
	}
	n := len(d.written)
	d.written[n], d.entries[path] = nil, n
	return &brokenFile{d, n}, nil
}

func (d *brokenDisk) rename(from, to string) error {
	if err := d.spend(); err != nil {
		return err
	}
	d.entries[to] = d.entries[from]
	delete(d.entries, from)
	return nil
}

func (d *brokenDisk) remove(path string) error {
	delete(d.entries, path) // a full disk can still remove
	return nil
}

func (d *brokenDisk) open(string) (file, error) { return &brokenFile{d, -1}, d.spend() }

// brokenFile is the file with a number; -1 is the folder.
type brokenFile struct {
	disk   *brokenDisk
	number int
}

func (f *brokenFile) Write(text []byte) (int, error) {
	for i, b := range text {
		if err := f.disk.spend(); err != nil {
			return i, err
		}
		f.disk.written[f.number] = append(f.disk.written[f.number], b)
	}
	return len(text), nil
}

func (f *brokenFile) Sync() error {
	if err := f.disk.spend(); err != nil {
		return err
	}
	if f.number >= 0 {
		f.disk.synced[f.number] = bytes.Clone(f.disk.written[f.number])
		return nil
	}
	f.disk.kept = map[string]int{}
	for name, number := range f.disk.entries {
		f.disk.kept[name] = number
	}
	return nil
}

func (f *brokenFile) Close() error { return f.disk.spend() }

// TestOldOrNew breaks the disk at every byte and at every other step. A living process, a killed
// process and a power cut then find the old file or the new file, and of a Write without an error
// the new file.
func TestOldOrNew(t *testing.T) {
	t.Parallel()
	old, text := "the old run", strings.Repeat("the new run ", 50)
	var written bool
	for units := 0; !written; units++ {
		d := newBrokenDisk(units, old)
		err := writeTo(d, "run.json", []byte(text))
		written = err == nil
		if !written && !errors.Is(err, errBroken) {
			t.Fatalf("%d units: %v", units, err)
		}
		found := map[string]string{
			"a process":            string(d.written[d.entries["run.json"]]),
			"a power cut":          string(d.synced[d.kept["run.json"]]),
			"a cut after a rename": string(d.synced[d.entries["run.json"]]),
		}
		for who, content := range found {
			if content != text && (content != old || written) {
				t.Errorf("%d units: %s finds %d bytes %.20q", units, who, len(content), content)
			}
		}
		if len(d.entries) != 1 {
			t.Errorf("%d units: %v is left beside the file", units, d.entries)
		}
	}
}

// TestKilledAtEveryByte stops a write without any further step: whatever is in the folder beside
// it, the file is the old one.
func TestKilledAtEveryByte(t *testing.T) {
	t.Parallel()
	old, text := "the old run", strings.Repeat("the new run ", 50)
	for units := range len(text) + 4 {
		d := newBrokenDisk(units, old)
		killed := fmt.Sprintf("killed after %d units", units)
		func() {
			defer func() {
				if got := recover(); got != nil && got != killed {
					panic(got)
				}
			}()
			_ = writeTo(&killing{d, killed}, "run.json", []byte(text))
		}()
		if got := string(d.written[d.entries["run.json"]]); got != old && got != text {
			t.Errorf("%s: %.20q", killed, got)
		}
	}
}

// killing ends the writer, as SIGKILL does, where a brokenDisk would return an error.
type killing struct {
	*brokenDisk
	how string
}

func (k *killing) create(path string) (file, error) {
	made, err := k.brokenDisk.create(path)
	k.end(err)
	return &killingFile{made, k}, nil
}

func (k *killing) rename(from, to string) error {
	k.end(k.brokenDisk.rename(from, to))
	return nil
}

func (k *killing) end(err error) {
	if err != nil {
		panic(k.how)
	}
}

type killingFile struct {
	file
	disk *killing
}

func (f *killingFile) Write(text []byte) (int, error) {
	n, err := f.file.Write(text)
	f.disk.end(err)
	return n, nil
}

func (f *killingFile) Sync() error {
	f.disk.end(f.file.Sync())
	return nil
}

func (f *killingFile) Close() error {
	f.disk.end(f.file.Close())
	return nil
}

// TestWriteOnADisk: the real file system gets the content, a name of 255 bytes included, and a
// refused write leaves the old file alone.
func TestWriteOnADisk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	long := filepath.Join(folder, strings.Repeat("n", 250)+".json")
	for _, text := range []string{"old", "new"} {
		if err := Write(long, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(long); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	used := filepath.Join(folder, "folder")
	if err := os.MkdirAll(filepath.Join(used, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(used, nil); err == nil || !strings.Contains(err.Error(), used) {
		t.Errorf("over a folder: %v, want an error with its name", err)
	}
	if err := Write(filepath.Join(long, "x"), nil); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	var names []string
	entries, err := os.ReadDir(folder)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff([]string{"folder", filepath.Base(long)}, names); diff != "" || err != nil {
		t.Errorf("%v, left in the folder: %s", err, diff)
	}
}
