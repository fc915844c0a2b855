package process

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeLabEnv makes the test binary a lab that holds a folder under the value, with one child, until
// killed.
const fakeLabEnv = "CDCLAB_TEST_FAKE_LAB"

// quitEnv gives the lab another child, which leaves something behind unless ended by Command.Quit.
const quitEnv = "CDCLAB_TEST_QUIT"

func TestMain(m *testing.M) {
	if base := os.Getenv(fakeLabEnv); base != "" {
		if err := fakeLab(base); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func fakeLab(base string) error {
	f, err := NewFolderIn(base, false)
	if err != nil {
		return err
	}
	p, err := f.Start(shell("family", family))
	if err != nil {
		return err
	}
	if os.Getenv(quitEnv) != "" {
		quits := shell("quits", `trap 'echo >"`+base+`/quit"; exit' QUIT; echo ready >up; `+
			`while :; do sleep 300 & wait; done`)
		quits.Quit = syscall.SIGQUIT
		if _, err := f.Start(quits); err != nil {
			return err
		}
		for _, err := os.Stat(f.File("up")); err != nil; _, err = os.Stat(f.File("up")) {
			<-time.After(PollEvery)
		}
	}
	for len(p.PIDs()) < 2 {
		<-time.After(PollEvery)
	}
	fmt.Println(f.Path)
	select {}
}

// startFakeLab starts a lab in another process and returns the lab's folder and processes.
func startFakeLab(t *testing.T, base string) (lab *exec.Cmd, folder string, children []Identity) {
	t.Helper()
	lab = exec.Command(os.Args[0])
	lab.Env = append(os.Environ(), fakeLabEnv+"="+base)
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !filepath.IsAbs(line) {
		t.Fatalf("the fake lab said %q (%v)", line, err)
	}
	children = descendants(lab.Process.Pid)
	t.Cleanup(func() {
		lab.Process.Kill()
		lab.Wait()
		if err := killAll(children); err != nil {
			t.Error(err)
		}
	})
	return lab, strings.TrimSpace(line), children
}

func TestCleanUpAfterAKilledLab(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	_, liveFolder, liveChildren := startFakeLab(t, base)
	dead, deadFolder, deadChildren := startFakeLab(t, base)
	if len(deadChildren) != 2 {
		t.Fatalf("the fake lab has %d processes, want 2", len(deadChildren))
	}
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	dead.Wait()

	var said []string
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := CleanUp([]string{base}, func(line string) {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, line)
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(said) != 1 || !strings.Contains(said[0], deadFolder) {
		t.Errorf("said %q, want one line about %s", said, deadFolder)
	}
	if _, err := os.Stat(deadFolder); !os.IsNotExist(err) {
		t.Errorf("the dead lab's folder is still there (%v)", err)
	}
	for _, i := range deadChildren {
		if i.Alive() {
			t.Errorf("process %d of the dead lab is still there", i.PID)
		}
	}
	if _, err := os.Stat(liveFolder); err != nil {
		t.Errorf("the live lab's folder: %v", err)
	}
	for _, i := range liveChildren {
		if !i.Alive() {
			t.Errorf("process %d of the live lab is gone", i.PID)
		}
	}
}

// TestCleanUpOutlivesAnotherCleaner: a lab that dies while cleaning leaves the cleaning to a lab
// that came meanwhile.
func TestCleanUpOutlivesAnotherCleaner(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dead, folder, children := startFakeLab(t, base)
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	dead.Wait()
	path := filepath.Join(folder, stateName)
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := Lock(other); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- CleanUp([]string{base}, func(string) {}) }()
	for openFiles(t, path) < 2 { // the other's and CleanUp's
		select {
		case err := <-ended:
			t.Fatalf("CleanUp left the folder to another cleaner (%v)", err)
		case <-time.After(time.Millisecond):
		}
	}
	other.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the dead lab's folder is still there (%v)", err)
	}
	for _, i := range children {
		if i.Alive() {
			t.Errorf("process %d of the dead lab is still there", i.PID)
		}
	}
}

// openFiles counts this process's open files of a path.
func openFiles(t *testing.T, path string) (count int) {
	t.Helper()
	const all = "/proc/self/fd"
	entries, err := os.ReadDir(all)
	if err != nil {
		t.Skip("tells what CleanUp does by /proc")
	}
	for _, entry := range entries {
		if to, err := os.Readlink(filepath.Join(all, entry.Name())); err == nil && to == path {
			count++
		}
	}
	return count
}

// TestCleanUpQuitsFirst: no leftovers of a SIGKILL stay, and the child's own child is gone.
func TestCleanUpQuitsFirst(t *testing.T) {
	t.Setenv(quitEnv, "1")
	base := t.TempDir()
	lab, _, children := startFakeLab(t, base)
	if len(children) != 4 {
		t.Fatalf("the fake lab has %d processes, want 4", len(children))
	}
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	lab.Wait()
	if err := CleanUp([]string{base}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(base, "quit")); err != nil {
		t.Errorf("the child was not asked to quit: %v", err)
	}
	for _, i := range children {
		if i.Alive() {
			t.Errorf("process %d of the dead lab is still there", i.PID)
		}
	}
}

func TestCleanUpSparesStrangers(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	stranger := exec.Command("/bin/sh", "-c", "exec sleep 300")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer stranger.Wait()
	defer stranger.Process.Kill()
	f, err := NewFolderIn(base, false)
	if err != nil {
		t.Fatal(err)
	}
	// A child whose pid somebody else has got since.
	reused := Identity{PID: stranger.Process.Pid, Start: "long ago"}
	if err := f.write(record{Name: "postgres", Identity: reused}); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(readFile(t, f.File(stateName)), fmt.Sprint(os.Getpid()), "0")
	f.state.Close()
	// The torn last line of a lab killed while writing.
	if err := os.WriteFile(f.File(stateName), []byte(text+`{"name":"mon`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CleanUp([]string{base}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Path); !os.IsNotExist(err) {
		t.Errorf("the folder is still there (%v)", err)
	}
	if i, err := Find(stranger.Process.Pid); err != nil || i.State == "Z" {
		t.Error("a process that only has the pid of a child was ended")
	}
}

func TestCleanUpOfFoldersWithoutState(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	long := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name, file string
		old, kept  bool
	}{
		{name: "stack-1", old: true},
		{name: "stack-2", file: "state.new", old: true},
		{name: "stack-3", file: "state.new", kept: true},
		{name: "stack-4", file: "postgres.log", old: true, kept: true},
		{name: "5", old: true, kept: true},
	} {
		user, err := userFolder(base)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(user, c.name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if c.file != "" {
			if err := os.WriteFile(filepath.Join(path, c.file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.old {
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}
		if err := CleanUp([]string{base}, func(string) {}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != c.kept {
			t.Errorf("%s with %q: kept %v, want %v", c.name, c.file, err == nil, c.kept)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
