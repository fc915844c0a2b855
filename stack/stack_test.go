package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestUpGivenUpLeavesNothing cancels at each line of progress, so at different points of the start.
func TestUpGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	given := testOptions(t)
	for stopAt := range 4 {
		ctx, cancel := context.WithCancel(expect.Context(t))
		options := given
		var lines atomic.Int32
		options.Say = func(string) {
			if int(lines.Add(1)) > stopAt {
				cancel()
			}
		}
		upMustFail(t, ctx, options, context.Canceled.Error())
		cancel()
	}
}

func TestConsumerThatDiesAtStart(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.ConsumerArgs = []string{"--no-such-flag"}
	upMustFail(t, expect.Context(t), options, "no-such-flag")
}

// upMustFail wants an error with the words and nothing left behind.
func upMustFail(t *testing.T, ctx context.Context, options Options, words string) {
	t.Helper()
	options, err := options.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	f, err := process.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	options.Log = &log
	s, err := upIn(ctx, f, options)
	if err == nil {
		s.Down(expect.Context(t))
		t.Fatalf("up, want an error with %q", words)
	}
	expect.Error(t, err, words)
	if f.Started() != nil && !strings.Contains(log.String(), ".log\n") {
		t.Errorf("the log of the stack is %q, without those of its children", log.String())
	}
	if _, err := os.Stat(f.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", f.Path, err)
	}
	for _, child := range f.Started() {
		if child.Alive() {
			t.Errorf("%s is still there", child.Command.Name)
		}
	}
	wantNobodyIn(t, f.Path)
}

// wantNobodyIn looks for processes working in a folder, such as the Stack's children and their
// children.
func wantNobodyIn(t *testing.T, folder string) {
	t.Helper()
	for _, p := range process.List() {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID))
		if err == nil && strings.HasPrefix(cwd, folder) {
			t.Errorf("process %d is still there, in %s", p.PID, cwd)
		}
	}
}

// TestObserveNeedsItsPrograms: before anything starts, the error says how to get the programs.
func TestObserveNeedsItsPrograms(t *testing.T) {
	t.Setenv("CDCLAB_PROMETHEUS", "")
	for _, kind := range []string{Embedded, Native} {
		_, err := Up(t.Context(), Options{Kind: kind, ConsumerPath: os.Args[0], Observe: true,
			CacheDir: t.TempDir()})
		expect.Error(t, err, "prometheus, which is not installed", "./cdclab fetch observers")
	}
}

func TestUpRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{ConsumerPath: "/nowhere/consumer"}, "/nowhere/consumer"},
		{Options{}, "ConsumerPath"},
		{Options{Kind: "swarm"}, "swarm"},
		{Options{Proxies: []string{"consumer-kafka"}}, proxy.ConsumerMongo},
		{Options{Partitions: -1}, "partitions"},
		{Options{Kind: Compose, Observe: true}, "embedded and native"},
	} {
		_, err := Up(t.Context(), c.options)
		expect.Error(t, err, c.want)
	}
}
