package programs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func TestFetchWithoutCargo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(secantusRSEnv, "")
	err := installSecantusRS(expect.Context(t), t.TempDir(), func(string) {})
	expect.Error(t, err, "cargo")
}

func TestFetchLeavesAloneWhatIsThere(t *testing.T) {
	cache := t.TempDir()
	program := filepath.Join(secantusRSRoot(cache), "bin", SecantusRS)
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv(secantusRSEnv, "")
	var said []string
	say := func(line string) { said = append(said, line) }
	if err := installSecantusRS(expect.Context(t), cache, say); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.Contains(said[0], program) {
		t.Errorf("said %q, want where it is", said)
	}
}

func TestInstallersTakeTurns(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "cache", "program")
	var inside, most atomic.Int32
	group, ctx := errgroup.WithContext(expect.Context(t))
	for range 4 {
		group.Go(func() error {
			return process.Alone(ctx, root, func() error {
				most.Store(max(most.Load(), inside.Add(1)))
				defer inside.Add(-1)
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil || most.Load() != 1 {
		t.Errorf("%d installers at once (%v), want one", most.Load(), err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	err := process.Alone(expect.Context(t), root, func() error {
		cancel()
		return process.Alone(cancelled, root, func() error {
			return errors.New("both have the lock")
		})
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that waiting was cancelled", err)
	}
}
