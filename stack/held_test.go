package stack

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestOneHolds: the second holder of two at once is refused before any start; the first is found,
// and can be ended, from the beginning on.
func TestOneHolds(t *testing.T) {
	t.Setenv("CDCLAB_CACHE", t.TempDir())
	_, err := FindHeld()
	expect.Error(t, err, ErrNothingHeld.Error())
	first, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	self := strconv.Itoa(os.Getpid())
	_, err = Hold()
	expect.Error(t, err, "process "+self+" holds a stack already")
	held, err := FindHeld()
	if !errors.Is(err, ErrStarting) || held.Holder.PID != os.Getpid() {
		t.Errorf("found %v, %v, want this process, not up yet", held, err)
	}
	if err := first.Note(Endpoints{KafkaBrokers: []string{"127.0.0.1:1"}}); err != nil {
		t.Fatal(err)
	}
	if held, err = FindHeld(); err != nil || held.Endpoints.KafkaBrokers[0] != "127.0.0.1:1" {
		t.Errorf("found %v, %v", held, err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err = FindHeld(); !errors.Is(err, ErrNothingHeld) {
		t.Errorf("after the release: %v", err)
	}
	if first, err = Hold(); err != nil {
		t.Fatal(err)
	}
	first.Release()
}

// instead moves the file at the path aside before something else is planted there.
func instead(plant func(path string) error) func(path string) error {
	return func(path string) error {
		return errors.Join(os.Rename(path, path+".moved"), plant(path))
	}
}

// TestNoteSparesOthers: where a holder writes a note, another user has given the name to a file of
// this user. The file stays unchanged, and a FIFO there holds nobody up.
func TestNoteSparesOthers(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("CDCLAB_CACHE", cache)
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("words"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, plant := range []func(path string) error{
		func(path string) error { return os.Link(precious, path) },
		func(path string) error { return os.Symlink(precious, path) },
		func(path string) error { return syscall.Mkfifo(path, 0o600) },
		func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(cache, "up.json.new")
		if err := errors.Join(os.RemoveAll(path), plant(path)); err != nil {
			t.Fatal(err)
		}
		if _, err := Hold(); err == nil {
			t.Error("a holder writes its note into something planted")
		}
		if text, err := os.ReadFile(precious); err != nil || string(text) != "words" {
			t.Errorf("the other file is %q, %v", text, err)
		}
	}
}

// strangeNotes are what another user may have made of a note, by what the refusal says.
var strangeNotes = map[string]func(path string) error{
	"open to writes":        func(path string) error { return os.Chmod(path, 0o666) },
	"writes of other users": func(path string) error { return os.Chmod(path, 0o660) },
	"belongs to user": func(path string) error {
		return os.Chown(path, os.Geteuid()+1, -1)
	},
	"has 2 names":           func(path string) error { return os.Link(path, path+".twin") },
	"more than 65536 bytes": func(path string) error { return os.Truncate(path, 1<<40) },
	"is no regular file": instead(func(path string) error {
		return syscall.Mkfifo(path, 0o600)
	}),
	"no regular file: d": instead(func(path string) error { return os.Mkdir(path, 0o700) }),
	"is a link": instead(func(path string) error {
		return os.Symlink("up.json.moved", path)
	}),
	"up.json: invalid character": instead(func(path string) error {
		return os.WriteFile(path, []byte("no note"), 0o600)
	}),
}

// TestStrangeNotes: a note that another user may have written ends no process.
func TestStrangeNotes(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("CDCLAB_CACHE", cache)
	victim := exec.Command("/bin/sleep", "300")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Wait()
	defer victim.Process.Kill()
	seen, err := process.Find(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	holding := Holding{seen.Identity, filepath.Join(cache, "up.json"), nil}
	if err := holding.Note(Endpoints{}); err != nil {
		t.Fatal(err)
	}
	note, err := os.ReadFile(holding.path)
	if err != nil {
		t.Fatal(err)
	}
	for want, plant := range strangeNotes {
		err := errors.Join(os.RemoveAll(holding.path), os.RemoveAll(holding.path+".twin"),
			os.WriteFile(holding.path, note, 0o600))
		if err == nil {
			err = plant(holding.path)
		}
		if errors.Is(err, syscall.EPERM) {
			continue // only root gives files away
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = FindHeld()
		expect.Error(t, err, want)
		if !seen.Alive() {
			t.Fatalf("%s: the process was ended", want)
		}
	}
	err = errors.Join(os.RemoveAll(holding.path), os.WriteFile(holding.path+".moved", note, 0o600),
		os.Symlink(holding.path+".moved", holding.path))
	if err != nil {
		t.Fatal(err)
	}
	// A process that has the number of a holder that ended.
	holding = Holding{process.Identity{PID: seen.PID, Start: "long ago"}, holding.path, nil}
	if err := (&Held{Holder: holding.self}).End(expect.Context(t)); err == nil {
		t.Error("ended a holder behind a link")
	}
	if !seen.Alive() {
		t.Error("a process that held nothing was ended")
	}
}
