package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/reports"
)

// screen is a terminal that calls at, once, when a line with the text appears.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	wait string
	at   func()
}

func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != nil && strings.Contains(string(text), s.wait) {
		go s.at()
		s.at = nil
	}
	return s.text.Write(text)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// nothingLeft fails the test when a child process or a stack's folder outlived the run.
func nothingLeft(t *testing.T) {
	t.Helper()
	self, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	children, err := self.Children()
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range children {
		command, _ := child.Cmdline()
		t.Errorf("process %d is left: %s", child.Pid, command)
	}
	if left := stackFolders(t); len(left) > 0 {
		t.Errorf("folders %v are left", left)
	}
}

// stackFolders are the folders of this process; other labs on the machine have their own.
func stackFolders(t *testing.T) []string {
	t.Helper()
	var own []string
	for _, base := range []string{"/dev/shm", os.TempDir()} {
		states, err := filepath.Glob(filepath.Join(base, "cdclab-*", "*", "state.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range states {
			// Another lab may have removed the file meanwhile. The first line is the owner.
			if text, err := os.ReadFile(state); err == nil &&
				bytes.HasPrefix(text, fmt.Appendf(nil, `{"pid":%d,`, os.Getpid())) {
				own = append(own, filepath.Dir(state))
			}
		}
	}
	return own
}

func TestPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	s := &screen{}
	code := run(t.Context(), []string{"bench", "smoke", "--postgres-port", port,
		"--out", t.TempDir()}, terminal{s, s})
	if code != exitCouldNotRun || !strings.Contains(s.String(), port) {
		t.Errorf("exit %d, want %d and an error that names port %s:\n%s", code, exitCouldNotRun,
			port, s)
	}
	nothingLeft(t)
}

// TestInterrupt: Ctrl-C under load ends everything within ten seconds and leaves a run that says
// so.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pressed time.Time
	s := &screen{wait: " in flight", at: func() { pressed = time.Now(); cancel() }}
	out := t.TempDir()
	code := run(ctx, []string{"bench", "smoke", "--out", out}, terminal{s, s})
	if took := time.Since(pressed); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if code != exitUnknown {
		t.Errorf("exit %d, want %d:\n%s", code, exitUnknown, s)
	}
	run, err := reports.Load(filepath.Join(out, "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !run.TestRun.Partial || run.Verdict.Status != reports.Unknown {
		t.Errorf("partial %v, verdict %s: want a partial run that is unknown", run.TestRun.Partial,
			run.Verdict.Status)
	}
	nothingLeft(t)
}

// TestPostgresKilledFromOutside: a part that dies by itself ends the run with its name, not with
// numbers.
func TestPostgresKilledFromOutside(t *testing.T) {
	s := &screen{wait: " in flight", at: func() {
		if len(stackFolders(t)) != 1 {
			t.Error("the running stack has no folder: nothingLeft looks in the wrong place")
		}
		if err := killChild("postgres"); err != nil {
			t.Error(err)
		}
	}}
	code := run(t.Context(), []string{"bench", "smoke", "--out", t.TempDir()}, terminal{s, s})
	if code != exitUnknown && code != exitCouldNotRun || !strings.Contains(s.String(), "postgres") {
		t.Errorf("exit %d, want %d or %d and the name of what died:\n%s", code, exitUnknown,
			exitCouldNotRun, s)
	}
	nothingLeft(t)
}

// killChild kills the first child of this process whose program has the name.
func killChild(name string) error {
	self, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return err
	}
	children, err := self.Children()
	if err != nil {
		return err
	}
	for _, child := range children {
		if program, err := child.Name(); err == nil && program == name {
			return syscall.Kill(int(child.Pid), syscall.SIGKILL)
		}
	}
	return fmt.Errorf("no child %s among %d", name, len(children))
}
