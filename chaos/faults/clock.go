package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cdclab/cdclab/stack"
)

func clockKinds() []Kind {
	return []Kind{{Name: "clock-shifted", Family: "clock", Does: "restarts PostgreSQL with " +
		"another clock (libfaketime), and at the end with the machine's", Ends: Lasts,
		Targets: []string{stack.Postgres}, Stacks: []string{stack.Embedded, stack.Native},
		Parameters: []Parameter{
			{Name: "by", Type: lengthType, Default: "1h", Least: 60_000,
				Does: "the difference to the machine's clock"},
			{Name: "clock", Type: wordType, Default: "ahead", Words: []string{"ahead", "behind"},
				Does: "the way of the difference"}},
		Verified: "PostgreSQL's time is off by so much, and after the fault the machine's",
		Undone:   "PostgreSQL is started without the library",
		lacks:    func() error { return lacksClock(clockLibrary()) },
		unable:   needs[clocked](" has the machine's clock on this stack"),
		bind:     shiftClock}}
}

// clocked is a part whose next start can have another clock.
type clocked interface {
	SetClock(library string, ahead time.Duration)
}

// clockLibraries are the places of libfaketime in the packages of the systems.
var clockLibraries = []string{
	"/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
	"/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
	"/usr/lib64/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1",
}

// clockLibrary finds libfaketime, "" for nowhere.
func clockLibrary() string {
	for _, path := range clockLibraries {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

func lacksClock(library string) error {
	if library == "" {
		return errors.New("libfaketime is not on this machine; a package of this name is to be had")
	}
	return nil
}

// clockTolerance is how far a clock may be from where the clock was set: the question takes time.
const clockTolerance = 30 * time.Second

// shiftClock restarts the target twice. Timeouts are no part of the fault: only the wall clock is
// shifted.
func shiftClock(s Site) *Injection {
	part, _ := s.Part.(clocked) // the Kind needs one
	by := s.With.Length("by")
	if s.With["clock"] == "behind" {
		by = -by
	}
	restarted := func(ctx context.Context, ahead time.Duration) error {
		part.SetClock(clockLibrary(), ahead)
		if len(s.Part.PIDs()) > 0 {
			if err := s.Part.Stop(ctx); err != nil {
				return err
			}
		}
		return s.Part.Start(ctx)
	}
	wants := func(ctx context.Context, want time.Duration) (string, error) {
		var theirs time.Time
		err := ask(ctx, s.At.PostgresDSN, "SELECT clock_timestamp()", nil, &theirs)
		if err != nil {
			return "", fmt.Errorf("ask PostgreSQL for the time: %w", err)
		}
		off := time.Until(theirs).Round(time.Second)
		text := fmt.Sprintf("the clock of %s is off by %v", s.Target, off)
		if (off - want).Abs() > clockTolerance {
			return "", fmt.Errorf("%s, want %v", text, want)
		}
		return text, nil
	}
	return &Injection{Healthy: s.healthy,
		Inject: func(ctx context.Context) error { return restarted(ctx, by) },
		During: func(ctx context.Context) (string, error) { return wants(ctx, by) },
		Undo:   func(ctx context.Context) error { return restarted(ctx, 0) },
		After:  func(ctx context.Context) (string, error) { return wants(ctx, 0) },
	}
}
