package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/stack"
)

// restart is kill and stop: the target is gone until a new start.
func restart(c stack.Component, end func(context.Context) error) *injection {
	var before []int
	i := &injection{healthy: healthy(c), undo: c.Start}
	i.inject = func(ctx context.Context) error {
		before = c.PIDs()
		return end(ctx)
	}
	i.during = func(ctx context.Context) (string, error) {
		for _, pid := range before {
			// A zombie is a dead process that still waits for the parent's wait.
			state, err := stateOf(ctx, pid)
			if err != nil || state != "" && state != process.Zombie {
				return "", errors.Join(
					fmt.Errorf("pid %d of %s is still there", pid, c.Name()), err)
			}
		}
		err := i.healthy(ctx)
		if err == nil {
			return "", fmt.Errorf("%s served during the fault", c.Name())
		}
		if len(before) == 0 {
			return err.Error(), nil
		}
		return fmt.Sprintf("pids %v gone", before), nil
	}
	i.after = func(context.Context) (string, error) {
		if len(before) == 0 {
			return "", nil
		}
		now := c.PIDs()
		if len(now) == 0 {
			return "", fmt.Errorf("%s has no process after its start", c.Name())
		}
		for _, pid := range now {
			if slices.Contains(before, pid) {
				return "", fmt.Errorf("pid %d of %s is the one from before", pid, c.Name())
			}
		}
		return fmt.Sprintf("pids %v came", now), nil
	}
	return i
}

// pause freezes the target.
func pause(c stack.Component) *injection {
	i := &injection{
		healthy: healthy(c),
		inject:  func(context.Context) error { return c.Pause() },
		undo:    func(context.Context) error { return c.Resume() },
	}
	i.during = func(ctx context.Context) (string, error) {
		pids := c.PIDs()
		stopped, err := stopped(ctx, c.Name(), pids)
		if err != nil {
			return "", err
		}
		if len(pids) > 0 {
			return fmt.Sprintf("pids %v stopped", stopped), nil
		}
		if err := i.healthy(ctx); err != nil {
			return err.Error(), nil
		}
		return "", fmt.Errorf("%s served during the fault", c.Name())
	}
	return i
}

// stopped returns which of the pids are stopped. A process that ended just before its part was
// stopped is a zombie until the part goes on, and no evidence; any other state is an error.
func stopped(ctx context.Context, name string, pids []int) (stopped []int, err error) {
	for _, pid := range pids {
		state, err := stateOf(ctx, pid)
		switch {
		case err == nil && state == process.Stop:
			stopped = append(stopped, pid)
		case err != nil || state != "" && state != process.Zombie:
			return nil, errors.Join(
				fmt.Errorf("pid %d of %s is not stopped but %q", pid, name, state), err)
		}
	}
	if len(stopped) == 0 && len(pids) > 0 {
		return nil, fmt.Errorf("no process of %s is stopped: pids %v have ended", name, pids)
	}
	return stopped, nil
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
