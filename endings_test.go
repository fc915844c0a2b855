package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// startedLab is the program in a process of its own, as a person starts it.
type startedLab struct {
	*exec.Cmd
	// output is the test's end of a pipe for both outputs; ended is closed after the lab's end.
	output *os.File
	text   bytes.Buffer
	ended  chan struct{}
	// seen are the lab's folders and children so far.
	folders  map[string]bool
	children map[process.Identity]string
}

// ownCache is a cache folder with the user's programs, so that a stack held by another test is not
// in the way.
func ownCache(t *testing.T) string {
	t.Helper()
	cache, err := programs.CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	own := t.TempDir()
	entries, _ := os.ReadDir(cache) // without a cache the lab fetches
	for _, entry := range entries {
		if entry.IsDir() {
			if err := os.Symlink(filepath.Join(cache, entry.Name()),
				filepath.Join(own, entry.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return own
}

func startLab(t *testing.T, cache string, args ...string) *startedLab {
	t.Helper()
	return startLabWith(t, cache, nil, args...)
}

// startLabWith starts the lab with more variables.
func startLabWith(t *testing.T, cache string, variables []string, args ...string) *startedLab {
	t.Helper()
	// A test below nohup hands an ignored SIGHUP on to its children, but no signal with a handler.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	l := &startedLab{Cmd: exec.Command("cdclab", args...), output: reader,
		ended: make(chan struct{}), folders: map[string]bool{},
		children: map[process.Identity]string{}}
	l.Env = append(append(os.Environ(), "CDCLAB_CACHE="+cache), variables...)
	l.Stdout, l.Stderr = writer, writer
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	copied := make(chan struct{})
	go func() {
		io.Copy(&l.text, reader)
		close(copied)
	}()
	go func() {
		l.Wait()
		<-copied
		close(l.ended)
	}()
	t.Cleanup(func() {
		l.Process.Kill()
		<-l.ended
		reader.Close()
	})
	return l
}

func (l *startedLab) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// look notes the lab's folders and children as the state files have them, and returns true if a
// child with the name was started.
func (l *startedLab) look(t *testing.T, name string) (found bool) {
	t.Helper()
	for _, base := range process.FolderBases() {
		states, err := filepath.Glob(filepath.Join(base, "cdclab-*", "*", "state.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range states {
			text, err := os.ReadFile(path)
			if err != nil || !bytes.HasPrefix(text, fmt.Appendf(nil, `{"pid":%d,`, l.Process.Pid)) {
				continue // another lab's, or gone meanwhile
			}
			l.folders[filepath.Dir(path)] = true
			for line := range bytes.Lines(text) {
				var child struct {
					Name string
					process.Identity
				}
				if json.Unmarshal(line, &child) == nil && child.Name != "" {
					l.children[child.Identity] = child.Name
					found = found || child.Name == name
				}
			}
		}
	}
	return found
}

// wantGone wants the lab to have ended, and nothing of it to be there.
func (l *startedLab) wantGone(t *testing.T) {
	t.Helper()
	expect.Soon(t, "the lab ends", func() error {
		if !l.over() {
			return fmt.Errorf("process %d is there", l.Process.Pid)
		}
		return nil
	})
	for child, name := range l.children {
		if child.Alive() {
			t.Errorf("%s (process %d) is left:\n%s", name, child.PID, &l.text)
		}
	}
	for folder := range l.folders {
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%s is left:\n%s", folder, &l.text)
		}
	}
}

// deafK6 is a k6 that does not listen to SIGINT and touches a file once it runs a load.
func deafK6(t *testing.T, running string) (program string) {
	t.Helper()
	root, err := experiments.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	built, err := experiments.Build(t.Context(), root, experiments.Programs{})
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(t.TempDir(), "k6")
	text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = run ] || exec '%s' \"$@\"\ntrap '' INT\n"+
		"touch '%s'\nwhile :; do sleep 1; done\n", built.K6, running)
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestEndings: whatever ends the lab ends what it started.
func TestEndings(t *testing.T) {
	cache, out, running := ownCache(t), t.TempDir(), filepath.Join(t.TempDir(), "running")
	send := func(t *testing.T, l *startedLab, one os.Signal) {
		if err := l.Process.Signal(one); err != nil && !l.over() {
			t.Fatal(err)
		}
	}
	holds := func(l *startedLab) bool { return l.look(t, "consumer") }
	exists := func(path string) func(*startedLab) bool {
		return func(l *startedLab) bool {
			l.look(t, "")
			_, err := os.Stat(path)
			return err == nil
		}
	}
	for _, c := range []struct {
		name  string
		args  []string
		ready func(*startedLab) bool
		end   func(*testing.T, *startedLab)
		says  string
	}{
		{"a closed terminal", []string{"up"}, holds, func(t *testing.T, l *startedLab) {
			send(t, l, syscall.SIGHUP)
		}, ""},
		{"Ctrl-\\", []string{"up"}, holds, func(t *testing.T, l *startedLab) {
			send(t, l, syscall.SIGQUIT)
		}, ""},
		{"no reader", []string{"up"}, holds, func(_ *testing.T, l *startedLab) {
			l.output.Close()
		}, ""},
		{"kill -9 and the next start", []string{"bench", "smoke", "--out", out},
			exists(filepath.Join(out, "started")), func(t *testing.T, l *startedLab) {
				send(t, l, syscall.SIGKILL)
				<-l.ended
				next := startLab(t, cache, "down")
				<-next.ended
				if !strings.Contains(next.text.String(), "cleaned up after a lab that died") {
					t.Errorf("the next start says %q", &next.text)
				}
			}, ""},
		{"Ctrl-C twice", []string{"bench", "smoke", "--k6", deafK6(t, running), "--out",
			t.TempDir()},
			exists(running), func(t *testing.T, l *startedLab) {
				send(t, l, syscall.SIGINT)
				<-time.After(impatience + 100*time.Millisecond)
				send(t, l, syscall.SIGQUIT)
			}, ".untilEnded.func"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startLab(t, cache, c.args...)
			expect.True(t, "the lab is under way", func() bool { return l.over() || c.ready(l) })
			c.end(t, l)
			l.wantGone(t)
			if !strings.Contains(l.text.String(), c.says) || len(l.children) < 3 {
				t.Errorf("%d children, want %q:\n%s", len(l.children), c.says, &l.text)
			}
		})
	}
}

// killsEnv is how many times TestKilledLabs ends each command; a few minutes for each.
const killsEnv = "CDCLAB_KILLS"

// TestKilledLabs ends each command, at random moments, by each way to end: nothing is left after at
// most the next start, each run.json can be read, and a load that made a measured write is in one.
// Without CDCLAB_KILLS the test is left out; 30 takes an hour.
func TestKilledLabs(t *testing.T) {
	kills, err := strconv.Atoi(cmp.Or(os.Getenv(killsEnv), "0"))
	if err != nil {
		t.Fatalf("%s: %v", killsEnv, err)
	}
	if kills == 0 {
		t.Skipf("%s is not set", killsEnv)
	}
	cache, seed := ownCache(t), uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	segment := func(n int) string {
		text, err := os.ReadFile("reports/testdata/good.json")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.json", n))
		text = bytes.Replace(text, []byte(`"mix": "70/20/10",`),
			fmt.Appendf(nil, `"mix": "70/20/10","segment": "%d/2",`, n), 1)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	load := []string{"--rate", "50", "--duration", "5s", "--warmup", "1s"}
	endings := []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL,
		syscall.SIGQUIT, syscall.SIGABRT, nil}
	for _, c := range []struct {
		args   []string
		within time.Duration
	}{
		{append([]string{"bench", "smoke"}, load...), 25 * time.Second},
		{[]string{"up"}, 10 * time.Second},
		{append([]string{"bench", "suite", "--scenarios", "smoke,smoke"}, load...),
			45 * time.Second},
		{[]string{"merge", segment(1), segment(2)}, time.Second / 2},
		{[]string{"bench", "breakpoint", "--duration", "3s"}, 60 * time.Second},
	} {
		for n := range kills {
			ending, after := endings[n%len(endings)], time.Duration(random.Int64N(int64(c.within)))
			out := t.TempDir()
			args := slices.Clone(c.args)
			if c.args[0] != "up" {
				args = append(args, "--out", out)
			}
			name := strings.TrimPrefix(strings.Join(c.args, " "), "bench ")
			name, _, _ = strings.Cut(name, " ")
			t.Run(fmt.Sprintf("%s-%v-%v", name, ending, after), func(t *testing.T) {
				l := startLab(t, cache, args...)
				l.lookUntil(t, after)
				switch {
				case ending == nil:
					l.output.Close()
				case !l.over():
					l.Process.Signal(ending)
				}
				l.lookUntil(t, time.Minute)
				if ending == syscall.SIGKILL {
					<-startLab(t, cache, "down").ended
				}
				l.wantGone(t)
				wantReadableRuns(t, out)
			})
		}
	}
}

// lookUntil looks at the lab's children until the lab is over, or so much time has passed.
func (l *startedLab) lookUntil(t *testing.T, limit time.Duration) {
	t.Helper()
	late := time.After(limit)
	for tick := time.Tick(5 * time.Millisecond); ; {
		l.look(t, "")
		select {
		case <-l.ended:
			return
		case <-late:
			return
		case <-tick:
		}
	}
}

// wantReadableRuns wants each run.json below the folder to be readable, and the run of each ledger
// with a measured write to hold writes.
func wantReadableRuns(t *testing.T, out string) {
	t.Helper()
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == experiments.Selftest {
			return fs.SkipDir // a floor is no run
		}
		if err != nil || d.Name() != "run.json" && d.Name() != "ledger.jsonl" {
			return err
		}
		folder, measured := filepath.Dir(path), int64(0)
		if name := filepath.Base(folder); name == "ramp" || strings.HasPrefix(name, "probe-") {
			folder = filepath.Dir(folder) // a search is one run
		}
		if d.Name() == "ledger.jsonl" {
			_, _, _ = ledger.Read(path, func(w ledger.Write) error { // perhaps without an end
				if w.Measured() {
					measured++
				}
				return nil
			})
		}
		run, err := experiments.LoadRun(filepath.Join(folder, "run.json"))
		if err == nil && measured > 0 && run.Summary.TotalOperations == 0 {
			err = fmt.Errorf("%s holds %d measured writes, and the run none", path, measured)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
