package stack

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeLabEnv makes the test binary a lab that holds a folder under its value with one child until
// it is killed.
const fakeLabEnv = "CDCLAB_TEST_FAKE_LAB"

func TestMain(m *testing.M) {
	if base := os.Getenv(fakeLabEnv); base != "" {
		if err := fakeLab(base); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	code := m.Run()
	if consumerDir != "" {
		os.RemoveAll(consumerDir)
	}
	os.Exit(code)
}

func fakeLab(base string) error {
	f, err := makeFolderIn(base, false)
	if err != nil {
		return err
	}
	p, err := f.start(shell("family", family))
	if err != nil {
		return err
	}
	for len(p.pids()) < 2 {
		<-time.After(pollEvery)
	}
	fmt.Println(f.path)
	select {}
}

// startFakeLab starts a lab in a process of its own and returns its folder and its processes.
func startFakeLab(t *testing.T, base string) (lab *exec.Cmd, folder string, children []identity) {
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
			if err := cleanUp([]string{base}, func(line string) {
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
		if i.alive() {
			t.Errorf("process %d of the dead lab is still there", i.PID)
		}
	}
	if _, err := os.Stat(liveFolder); err != nil {
		t.Errorf("the live lab's folder: %v", err)
	}
	for _, i := range liveChildren {
		if !i.alive() {
			t.Errorf("process %d of the live lab is gone", i.PID)
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
	f, err := makeFolderIn(base, false)
	if err != nil {
		t.Fatal(err)
	}
	// A child whose pid somebody else has got since.
	reused := identity{PID: stranger.Process.Pid, Start: "long ago"}
	if err := f.write(record{Name: "postgres", identity: reused}); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(readFile(t, f.file(stateName)), fmt.Sprint(os.Getpid()), "0")
	f.state.Close()
	// The torn last line of a lab that was killed while it wrote.
	if err := os.WriteFile(f.file(stateName), []byte(text+`{"name":"mon`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cleanUp([]string{base}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.path); !os.IsNotExist(err) {
		t.Errorf("the folder is still there (%v)", err)
	}
	if i, err := lookAt(stranger.Process.Pid); err != nil || i.state == "Z" {
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
		{name: "cdclab-stack-1", old: true},
		{name: "cdclab-stack-2", file: "state.new", old: true},
		{name: "cdclab-stack-3", file: "state.new", kept: true},
		{name: "cdclab-stack-4", file: "postgres.log", old: true, kept: true},
		{name: "cdclab-5", old: true, kept: true},
	} {
		path := filepath.Join(base, c.name)
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
		if err := cleanUp([]string{base}, func(string) {}); err != nil {
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
