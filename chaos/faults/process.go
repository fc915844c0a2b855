package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/stack"
)

func processKinds() []Kind {
	gone := "its processes are gone, or the health check fails; after the start others came"
	kinds := []Kind{
		{Name: "kill", Does: "ends the part as a crash does (SIGKILL)", Ends: Restarts,
			Targets: everyPart, Verified: gone, Undone: "the part is started",
			bind: func(s Site) *Injection {
				return restart(s, func(context.Context) error { return s.Part.Kill() })
			}},
		{Name: "stop", Does: "ends the part in good order", Ends: Restarts,
			Targets: everyPart, Verified: gone, Undone: "the part is started",
			bind: func(s Site) *Injection { return restart(s, s.Part.Stop) }},
		{Name: "restart", Does: "ends the part in good order and starts the part at once",
			Ends: AtOnce, Targets: everyPart, Verified: gone, Undone: "the part is started",
			bind: func(s Site) *Injection { return restart(s, s.Part.Stop) }},
		{Name: "pause", Does: "freezes the part (SIGSTOP to all its processes)", Ends: Lasts,
			Targets: everyPart, Verified: "its processes are stopped, or the health check fails",
			Undone: "SIGCONT", bind: pause,
			// The connector there is inside the lab's process; the broker is too, behind a valve.
			notOn: map[string][]string{stack.Embedded: {stack.Connector}}},
		{Name: "slowed", Does: "freezes the part for most of each short period (SIGSTOP, " +
			"SIGCONT), so that every write and every answer is slow", Ends: Lasts,
			LeastFor: time.Second,
			Targets:  everyPart, Parameters: []Parameter{
				{Name: "frozen", Type: numberType, Default: "80", Least: 1, Most: 95,
					Does: "per cent of a period in which the part is frozen"},
				{Name: "period", Type: lengthType, Default: "200ms", Least: 20,
					Does: "from one freeze to the next"}},
			Verified: "its processes were stopped, or its container paused, at least twice, and " +
				"went on",
			Undone: "SIGCONT", unable: hasProcess, bind: slow,
			notOn: map[string][]string{stack.Embedded: {stack.Connector, stack.Kafka}}},
		{Name: "kill-during-start", Does: "kills the part, and each start before the part serves",
			Ends: AtOnce, Targets: []string{stack.Postgres, stack.Mongo, stack.Consumer},
			Parameters: []Parameter{{Name: "times", Type: numberType, Default: "2", Least: 1,
				Most: 20, Does: "the starts that are killed"}},
			Verified: "each start had a process of its own, or was one of its container, failed, " +
				"and left no process",
			Undone: "the part is started", unable: hasProcess, bind: killDuringStart},
		{Name: "crash-loop", Does: "kills the part again as soon as the part serves", Ends: Lasts,
			LeastFor: 4 * time.Second,
			Targets:  everyPart,
			Parameters: []Parameter{{Name: "every", Type: lengthType, Default: "1s", Least: 100,
				Does: "the shortest time between two crashes"}},
			Verified: "the part was killed at least twice, and served in between",
			Undone:   "no more crashes, and the part is started", bind: crashLoop},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Stacks = "process", everyStack
	}
	return kinds
}

// restart is kill and stop: the target is gone until a new start.
func restart(s Site, end func(context.Context) error) *Injection {
	var before []int
	i := &Injection{Healthy: s.healthy, Undo: s.Part.Start}
	i.Inject = func(ctx context.Context) error {
		before = s.Part.PIDs()
		return end(ctx)
	}
	i.During = func(ctx context.Context) (string, error) {
		if err := gone(ctx, s.Target, before); err != nil {
			return "", err
		}
		err := i.Healthy(ctx)
		if err == nil {
			return "", fmt.Errorf("%s served during the fault", s.Target)
		}
		if len(before) == 0 {
			return err.Error(), nil
		}
		return fmt.Sprintf("pids %v gone", before), nil
	}
	i.After = func(context.Context) (string, error) { return othersCame(s.Part, before) }
	return i
}

// gone refuses processes that are still there.
func gone(ctx context.Context, name string, pids []int) error {
	for _, pid := range pids {
		// A zombie is a dead process that still waits for the parent's wait.
		state, err := stateOf(ctx, pid)
		if err != nil || state != "" && state != process.Zombie {
			return errors.Join(fmt.Errorf("pid %d of %s is still there", pid, name), err)
		}
	}
	return nil
}

// othersCame is the evidence that the part has other processes than before; "" if the part had
// none.
func othersCame(part stack.Component, before []int) (string, error) {
	if len(before) == 0 {
		return "", nil
	}
	now := part.PIDs()
	if len(now) == 0 {
		return "", fmt.Errorf("%s has no process after its start", part.Name())
	}
	for _, pid := range now {
		if slices.Contains(before, pid) {
			return "", fmt.Errorf("pid %d of %s is the one from before", pid, part.Name())
		}
	}
	return fmt.Sprintf("pids %v came", now), nil
}

// pause freezes the target.
func pause(s Site) *Injection {
	i := &Injection{
		Healthy: s.healthy,
		Inject:  func(context.Context) error { return s.Part.Pause() },
		Undo:    func(context.Context) error { return s.Part.Resume() },
	}
	i.During = s.frozen
	return i
}

// slow freezes the target again and again. A frozen part is never left frozen, because the work
// ends after a SIGCONT alone.
func slow(s Site) *Injection {
	work := &beside{}
	period := s.With.Length("period")
	frozen := period * time.Duration(s.With.Number("frozen")) / 100
	var times int
	var failed error
	freeze := func(ctx context.Context) error {
		if err := s.Part.Pause(); err != nil {
			return err
		}
		pass(ctx, frozen)
		var running error
		if ctx.Err() == nil { // a signal takes its time: a freeze that was cut short tells nothing
			_, running = s.frozen(ctx)
			times++
		}
		return errors.Join(running, s.Part.Resume())
	}
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(context.Context) error {
		work.begin(func(ctx context.Context) {
			for ctx.Err() == nil {
				if failed = freeze(ctx); failed != nil {
					return
				}
				pass(ctx, period-frozen)
			}
		})
		return nil
	}
	i.During = func(context.Context) (string, error) {
		work.end()
		if failed != nil || times < 2 {
			return "", errors.Join(
				fmt.Errorf("%s was frozen %d times, want at least 2", s.Target, times), failed)
		}
		return fmt.Sprintf("frozen %d times for %v of %v", times, frozen, period), nil
	}
	i.Undo = func(context.Context) error {
		work.end()
		return nil
	}
	return i
}

// frozen is the evidence that the target is stopped: the state of its processes, or, of a target
// without, the health check. A process that ended just before its part was stopped is a zombie
// until the part goes on, and no evidence; any other state is an error.
func (s Site) frozen(ctx context.Context) (string, error) {
	pids := s.Part.PIDs()
	if len(pids) == 0 {
		if err := s.healthy(ctx); err != nil {
			return err.Error(), nil
		}
		return "", fmt.Errorf("%s served during the fault", s.Target)
	}
	var stopped []int
	for _, pid := range pids {
		state, err := stateOf(ctx, pid)
		switch {
		case err == nil && state == process.Stop:
			stopped = append(stopped, pid)
		case err != nil || state != "" && state != process.Zombie:
			return "", errors.Join(
				fmt.Errorf("pid %d of %s is not stopped but %q", pid, s.Target, state), err)
		}
	}
	if len(stopped) == 0 {
		return "", fmt.Errorf("no process of %s is stopped: pids %v have ended", s.Target, pids)
	}
	return fmt.Sprintf("pids %v stopped", stopped), nil
}

// killDuringStart kills the target, and then each of some starts as soon as the start has a
// process.
func killDuringStart(s Site) *Injection {
	var before []int
	var killed []string
	i := &Injection{Healthy: s.healthy, Undo: s.Part.Start}
	i.Inject = func(ctx context.Context) error {
		before = s.Part.PIDs()
		if err := s.Part.Kill(); err != nil {
			return err
		}
		for n := range s.With.Number("times") {
			one, err := killStart(ctx, s.Part)
			if err != nil {
				return fmt.Errorf("start %d: %w", n+1, err)
			}
			killed = append(killed, one)
		}
		return nil
	}
	i.During = func(ctx context.Context) (string, error) {
		if pids := s.Part.PIDs(); len(pids) > 0 {
			return "", fmt.Errorf("%s has the pids %v after its killed starts", s.Target, pids)
		}
		if err := gone(ctx, s.Target, before); err != nil {
			return "", err
		}
		if s.healthy(ctx) == nil {
			return "", fmt.Errorf("%s serves after its killed starts", s.Target)
		}
		return "killed during the start: " + strings.Join(killed, ", "), nil
	}
	i.After = func(context.Context) (string, error) { return othersCame(s.Part, before) }
	return i
}

// killStart starts the part and kills the part before the start is over. killed names what was
// killed.
func killStart(ctx context.Context, part stack.Component) (killed string, err error) {
	begun := beginning(part)
	started := make(chan error, 1)
	go func() { started <- part.Start(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for killed == "" {
		select {
		case err := <-started:
			if err == nil {
				err = errors.New("the start was over before the kill")
			}
			return "", err
		case <-tick.C:
			killed = begun()
		}
	}
	err = part.Kill()
	if <-started == nil {
		return "", errors.New("the start was over before the kill")
	}
	return killed, err
}

// beginning returns what names the part's next start as soon as there is something to kill: the
// processes, or the number of the container's start. Until then the name is "".
func beginning(part stack.Component) (begun func() string) {
	if c, is := part.(container); is {
		before := c.Starts()
		return func() string {
			if now := c.Starts(); now != before {
				return fmt.Sprint("start ", now, " of the container")
			}
			return ""
		}
	}
	return func() string {
		if pids := part.PIDs(); len(pids) > 0 {
			return fmt.Sprint("pids ", pids)
		}
		return ""
	}
}

// crashLoop kills the target whenever the target serves, until the fault ends.
func crashLoop(s Site) *Injection {
	loop := &crashes{part: s.Part, every: s.With.Length("every")}
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) error {
		if err := s.Part.Kill(); err != nil {
			return err
		}
		loop.begin(context.WithoutCancel(ctx))
		return nil
	}
	i.During = func(context.Context) (string, error) {
		loop.end()
		if loop.err != nil || loop.count < 2 {
			return "", errors.Join(
				fmt.Errorf("%s crashed %d times, want at least 2", s.Target, loop.count), loop.err)
		}
		return fmt.Sprintf("crashed %d times", loop.count), nil
	}
	i.Undo = func(ctx context.Context) error {
		loop.end()
		if !loop.down {
			return nil
		}
		return s.Part.Start(ctx)
	}
	return i
}

// crashes is the work of a crash loop beside the timeline.
type crashes struct {
	part  stack.Component
	every time.Duration
	// stop ends the work, done waits for the end; both nil before the beginning.
	stop func()
	done sync.WaitGroup
	// count is the number of kills, down is true while the part is killed. To be read after end.
	count int
	down  bool
	err   error
}

// begin goes on from a killed part.
func (l *crashes) begin(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	l.count, l.down = 1, true
	l.done.Go(func() {
		tick := time.NewTicker(l.every)
		defer tick.Stop()
		for l.err == nil {
			// A start that was begun is carried through, because an end in the middle is a kill.
			if l.err = l.part.Start(context.WithoutCancel(ctx)); l.err != nil {
				return
			}
			l.down = false
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if l.err = l.part.Kill(); l.err == nil {
				l.count, l.down = l.count+1, true
			}
		}
	})
}

// end ends the work and waits.
func (l *crashes) end() {
	if l.stop != nil {
		l.stop()
		l.done.Wait()
	}
}

// stateOf returns a process's state in gopsutil's words, empty when there is no such process.
func stateOf(ctx context.Context, pid int) (string, error) {
	there, err := process.PidExistsWithContext(ctx, int32(pid))
	if err != nil || !there {
		return "", err
	}
	states, err := (&process.Process{Pid: int32(pid)}).StatusWithContext(ctx)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil || len(states) != 1 {
		return "", fmt.Errorf("read the state of pid %d: states %v: %w", pid, states, err)
	}
	return states[0], nil
}
