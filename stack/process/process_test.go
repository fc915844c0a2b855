package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// family is a shell with a child of its own; both note their pids and ignore nothing.
const family = `sleep 300 & echo $! >child; wait`

func testFolder(t *testing.T) *Folder {
	t.Helper()
	f, err := NewFolderIn(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(false); err != nil {
			t.Error(err)
		}
	})
	return f
}

func shell(name, script string) Command {
	return Command{Name: name, Path: "/bin/sh", Args: []string{"-c", script}}
}

// startFamily starts the shell and waits for its child.
func startFamily(t *testing.T, f *Folder) *Process {
	t.Helper()
	p, err := f.Start(shell("family", family))
	if err != nil {
		t.Fatal(err)
	}
	expect.True(t, "the shell has a child", func() bool { return len(p.PIDs()) == 2 })
	return p
}

func TestKillEndsTheTree(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	p := startFamily(t, f)
	tree := descendants(p.PID())
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, i := range tree {
		if i.Alive() {
			t.Errorf("process %d is still there", i.PID)
		}
	}
	if len(p.PIDs()) != 0 {
		t.Errorf("a killed process has pids %v", p.PIDs())
	}
	select {
	case death := <-f.Deaths:
		t.Errorf("a kill by the lab was reported as %q", death)
	default:
	}
}

func stateOf(pid int) string {
	p, err := Find(pid)
	if err != nil {
		return ""
	}
	return p.State
}

func TestPauseFreezesTheTree(t *testing.T) {
	t.Parallel()
	p := startFamily(t, testFolder(t))
	if err := p.pause(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range p.PIDs() {
		expect.True(t, "every process is stopped", func() bool { return stateOf(pid) == "T" })
	}
	if err := p.resume(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range p.PIDs() {
		expect.True(t, "no process is stopped", func() bool { return stateOf(pid) != "T" })
	}
}

func TestStopThawsAPausedProcess(t *testing.T) {
	t.Parallel()
	p := startFamily(t, testFolder(t))
	tree := descendants(p.PID())
	if err := p.pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(expect.Context(t), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if tree[0].Alive() {
		t.Error("its child is still there")
	}
}

// TestStopReachesPython: Python runs a handler in the main thread alone and stays in a wait when
// the kernel hands the signal to another thread, as the kernel does beside SIGCONT.
func TestStopReachesPython(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: ", err)
	}
	for range 5 {
		p, err := testFolder(t).Start(Command{Name: "python", Path: python, Args: []string{"-c", `
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
waiters = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(8)]
[w.start() for w in waiters]
open("up", "w")
threading.Event().wait()
`}})
		if err != nil {
			t.Fatal(err)
		}
		expect.True(t, "it runs", func() bool {
			_, err := os.Stat(filepath.Join(p.Command.Dir, "up"))
			return err == nil
		})
		if err := p.pause(); err != nil {
			t.Fatal(err)
		}
		if err := p.stop(expect.Context(t), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	t.Parallel()
	deaf := shell("deaf", `trap "" TERM; echo ready >up; while :; do sleep 1; done`)
	p, err := testFolder(t).Start(deaf)
	if err != nil {
		t.Fatal(err)
	}
	expect.True(t, "it runs", func() bool {
		_, err := os.Stat(filepath.Join(p.Command.Dir, "up"))
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = p.stop(ctx, syscall.SIGTERM)
	expect.Error(t, err, "killed")
	if p.Alive() {
		t.Error("it is still there")
	}
}

func TestDeathAtStart(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	first := Child{name: "broken", Folder: f}
	never := func(context.Context) error { return errors.New("no answer") }
	for _, word := range []string{"apples", "pears"} {
		err := first.Launch(expect.Context(t), shell("", "echo no "+word+" >&2; exit 3"), never)
		expect.Error(t, err, "no "+word, "exit status 3")
		if word == "pears" && strings.Contains(err.Error(), "apples") {
			t.Errorf("the error tells the log of an earlier start: %v", err)
		}
	}
}

// TestDeathEndsTheProbe: nobody waits for the answer of a child that is gone.
func TestDeathEndsTheProbe(t *testing.T) {
	t.Parallel()
	p, err := testFolder(t).Start(shell("short", "exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		if ctx.Err() != context.Canceled {
			t.Errorf("the probe was asked until %v", ctx.Err())
		}
		return ctx.Err()
	}
	expect.Error(t, p.Ready(expect.Context(t), waits), "short", "ended by itself: exit status 3")
}

func TestStartGivesUpWithTheContext(t *testing.T) {
	t.Parallel()
	c := Child{name: "slow", Folder: testFolder(t)}
	ctx, cancel := context.WithCancel(t.Context())
	probe := func(context.Context) error { cancel(); return errors.New("no answer yet") }
	err := c.Launch(ctx, shell("", "sleep 300"), probe)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "no answer yet") {
		t.Errorf("start said %v, want that it was cancelled and what it waited for", err)
	}
	if c.Current().Alive() {
		t.Error("it is still there")
	}
}

func TestUnexpectedDeathIsReported(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	p := startFamily(t, f)
	tree := descendants(p.PID())
	if err := Signal(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	defer killAll(tree)
	select {
	case death := <-f.Deaths:
		if !strings.Contains(death, "family") || !strings.Contains(death, "killed") {
			t.Errorf("the report is %q, want who and how", death)
		}
	case <-expect.Context(t).Done():
		t.Fatal("no report")
	}
	if err := (&Child{name: "family", current: p}).Serves(); err == nil {
		t.Error("a dead child serves")
	}
}
