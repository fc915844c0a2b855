package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family is a shell with a child of its own; both note their pids and ignore nothing.
const family = `sleep 300 & echo $! >child; wait`

func testFolder(t *testing.T) *folder {
	t.Helper()
	f, err := makeFolderIn(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(false); err != nil {
			t.Error(err)
		}
	})
	return f
}

func shell(name, script string) command {
	return command{name: name, path: "/bin/sh", args: []string{"-c", script}}
}

// startFamily starts the shell and waits for its child.
func startFamily(t *testing.T, f *folder) *process {
	t.Helper()
	p, err := f.start(shell("family", family))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shell has a child", func() bool { return len(p.pids()) == 2 })
	return p
}

func TestKillEndsTheTree(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	p := startFamily(t, f)
	tree := descendants(p.pid())
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	for _, i := range tree {
		if i.alive() {
			t.Errorf("process %d is still there", i.PID)
		}
	}
	if len(p.pids()) != 0 {
		t.Errorf("a killed process has pids %v", p.pids())
	}
	select {
	case death := <-f.deaths:
		t.Errorf("a kill by the lab was reported as %q", death)
	default:
	}
}

func stateOf(pid int) string {
	p, err := lookAt(pid)
	if err != nil {
		return ""
	}
	return p.state
}

func TestPauseFreezesTheTree(t *testing.T) {
	t.Parallel()
	p := startFamily(t, testFolder(t))
	if err := p.pause(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range p.pids() {
		eventually(t, "every process is stopped", func() bool { return stateOf(pid) == "T" })
	}
	if err := p.resume(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range p.pids() {
		eventually(t, "no process is stopped", func() bool { return stateOf(pid) != "T" })
	}
}

func TestStopThawsAPausedProcess(t *testing.T) {
	t.Parallel()
	p := startFamily(t, testFolder(t))
	tree := descendants(p.pid())
	if err := p.pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(testContext(t), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if tree[0].alive() {
		t.Error("its child is still there")
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	t.Parallel()
	deaf := shell("deaf", `trap "" TERM; echo ready >up; while :; do sleep 1; done`)
	p, err := testFolder(t).start(deaf)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs", func() bool {
		_, err := os.Stat(filepath.Join(p.command.dir, "up"))
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = p.stop(ctx, syscall.SIGTERM)
	wantError(t, err, "killed")
	if p.alive() {
		t.Error("it is still there")
	}
}

func TestDeathAtStart(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	first := child{name: "broken", folder: f}
	never := func(context.Context) error { return errors.New("no answer") }
	for _, word := range []string{"apples", "pears"} {
		err := first.run(testContext(t), shell("", "echo no "+word+" >&2; exit 3"), never)
		wantError(t, err, "no "+word, "exit status 3")
		if word == "pears" && strings.Contains(err.Error(), "apples") {
			t.Errorf("the error tells the log of an earlier start: %v", err)
		}
	}
}

func TestStartGivesUpWithTheContext(t *testing.T) {
	t.Parallel()
	c := child{name: "slow", folder: testFolder(t)}
	ctx, cancel := context.WithCancel(t.Context())
	probe := func(context.Context) error { cancel(); return errors.New("no answer yet") }
	err := c.run(ctx, shell("", "sleep 300"), probe)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "no answer yet") {
		t.Errorf("start said %v, want that it was cancelled and what it waited for", err)
	}
	if c.get().alive() {
		t.Error("it is still there")
	}
}

func TestUnexpectedDeathIsReported(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	p := startFamily(t, f)
	tree := descendants(p.pid())
	if err := signalPID(p.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	defer killAll(tree)
	select {
	case death := <-f.deaths:
		if !strings.Contains(death, "family") || !strings.Contains(death, "killed") {
			t.Errorf("the report is %q, want who and how", death)
		}
	case <-testContext(t).Done():
		t.Fatal("no report")
	}
	if err := (&child{name: "family", current: p}).serves(); err == nil {
		t.Error("a dead child serves")
	}
}

// patience bounds waits in tests; a test that needs it all has failed.
const patience = 60 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wantError wants an error that holds all the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("still not so: %s", what)
		case <-tick.C:
		}
	}
}
