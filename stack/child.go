package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// startGrace is how long a child may take until it serves.
const startGrace = 60 * time.Second

// child is the part that Components have in common which are one child process and its tree. What
// differs (Version, Start, Health) is theirs.
type child struct {
	name   string
	folder *folder
	// stopSignal asks it to end in good order.
	stopSignal syscall.Signal

	mu      sync.Mutex
	current *process
}

// run starts the child and returns when probe succeeds; on any error it is gone again.
func (c *child) run(ctx context.Context, cmd command, probe func(context.Context) error) error {
	cmd.name = c.name
	c.mu.Lock()
	if c.current.alive() {
		c.mu.Unlock()
		return fmt.Errorf("start %s: it is running (pid %d)", c.name, c.current.pid())
	}
	started, err := c.folder.start(cmd)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.current = started
	c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, startGrace,
		fmt.Errorf("%w: %v passed", context.DeadlineExceeded, startGrace))
	defer cancel()
	if err := started.ready(ctx, probe); err != nil {
		return errors.Join(err, started.kill())
	}
	return nil
}

func (c *child) get() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Name is the Component's name.
func (c *child) Name() string { return c.name }

// Stop asks the child to end and waits; see process.stop.
func (c *child) Stop(ctx context.Context) error { return c.get().stop(ctx, c.stopSignal) }

// Kill ends the child and its descendants with SIGKILL and waits until they are gone.
func (c *child) Kill() error {
	p := c.get()
	if !p.alive() {
		return fmt.Errorf("kill %s: it is not running", c.name)
	}
	return p.kill()
}

// Pause freezes the child and its descendants with SIGSTOP.
func (c *child) Pause() error {
	p := c.get()
	if !p.alive() {
		return fmt.Errorf("pause %s: it is not running", c.name)
	}
	return p.pause()
}

// Resume thaws what Pause froze.
func (c *child) Resume() error {
	p := c.get()
	if !p.alive() {
		return fmt.Errorf("resume %s: it is not running", c.name)
	}
	return p.resume()
}

// PIDs are the child and its descendants; empty when it is not running.
func (c *child) PIDs() []int { return c.get().pids() }

// serves is nil while the child lives, else how it ended.
func (c *child) serves() error {
	p := c.get()
	switch {
	case p == nil:
		return fmt.Errorf("%s was not started", c.name)
	case p.alive():
		return nil
	case p.wasExpected():
		return fmt.Errorf("%s was stopped", c.name)
	}
	return p.died()
}
