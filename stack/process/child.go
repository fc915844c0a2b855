package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/namedfile"
)

// StartGrace is how long a child may take until it serves.
const StartGrace = 60 * time.Second

// Child is the common part of all Components with one child process and its tree. What differs
// (Start, Health) is the Component's.
type Child struct {
	name   string
	Folder *Folder
	// stopSignal asks the child to end in good order.
	stopSignal syscall.Signal
	// disk holds the data; nil is the Folder.
	disk *Disk

	mu      sync.Mutex
	current *Process
	version string
}

// NewChild takes the Component's name, the folder for the child's data and state, and the signal
// for an end in good order.
func NewChild(name string, folder *Folder, stopSignal syscall.Signal) *Child {
	return &Child{name: name, Folder: folder, stopSignal: stopSignal}
}

// Beside is another child, not started, with data in the same Folder or on the same Disk.
func (c *Child) Beside(name string) *Child {
	return &Child{name: name, Folder: c.Folder, stopSignal: c.stopSignal, disk: c.disk}
}

// PutOnDisk puts the data of the next start onto a Disk of the child's own, before the first start.
// The owner is the child's user; nil is the lab's own.
func (c *Child) PutOnDisk(owner *syscall.Credential) (err error) {
	c.disk, err = c.Folder.MountDisk(c.name, owner)
	return err
}

// Disk holds the child's data; nil is a child without a Disk of its own.
func (c *Child) Disk() *Disk { return c.disk }

// Data is the path for the child's data.
func (c *Child) Data() string {
	if c.disk != nil {
		return c.disk.File(c.name)
	}
	return c.Folder.File(c.name)
}

// Launch starts the child and returns when probe succeeds; on any error the child is gone again.
func (c *Child) Launch(ctx context.Context, cmd Command, probe func(context.Context) error) error {
	cmd.Name = c.name
	c.mu.Lock()
	if c.current.Alive() {
		c.mu.Unlock()
		return fmt.Errorf("start %s: it is running (pid %d)", c.name, c.current.PID())
	}
	started, err := c.Folder.Start(cmd)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.current = started
	c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, StartGrace,
		fmt.Errorf("%w: %v passed", context.DeadlineExceeded, StartGrace))
	defer cancel()
	if err := started.Ready(ctx, probe); err != nil {
		return errors.Join(err, started.Kill())
	}
	return nil
}

// Current is the process of the last start, perhaps ended; nil before the first.
func (c *Child) Current() *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Name is the Component's name.
func (c *Child) Name() string { return c.name }

// Version is how the program names itself; "" before the program was asked.
func (c *Child) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// SetVersion notes how the program names itself.
func (c *Child) SetVersion(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
}

// Stop asks the child to end and waits; see Process.stop.
func (c *Child) Stop(ctx context.Context) error { return c.Current().stop(ctx, c.stopSignal) }

// StopBy is Stop with another signal.
func (c *Child) StopBy(ctx context.Context, signal syscall.Signal) error {
	return c.Current().stop(ctx, signal)
}

// Kill ends the child and its descendants with SIGKILL and waits until all are gone.
func (c *Child) Kill() error {
	p := c.Current()
	if !p.Alive() {
		return fmt.Errorf("kill %s: it is not running", c.name)
	}
	return p.Kill()
}

// Pause freezes the child and its descendants with SIGSTOP.
func (c *Child) Pause() error {
	p := c.Current()
	if !p.Alive() {
		return fmt.Errorf("pause %s: it is not running", c.name)
	}
	return p.pause()
}

// Resume thaws the child and its descendants after Pause.
func (c *Child) Resume() error {
	p := c.Current()
	if !p.Alive() {
		return fmt.Errorf("resume %s: it is not running", c.name)
	}
	return p.resume()
}

// PIDs are the child and its descendants; empty when the child is not running.
func (c *Child) PIDs() []int { return c.Current().PIDs() }

// Serves is nil while the child lives, else how it ended.
func (c *Child) Serves() error {
	p := c.Current()
	switch {
	case p == nil:
		return fmt.Errorf("%s was not started", c.name)
	case p.Alive():
		return nil
	case p.wasExpected():
		return fmt.Errorf("%s was stopped", c.name)
	}
	return p.died()
}

// MayEnd says whether the present process may end by itself: the end is then no accident, and the
// Folder reports none.
func (c *Child) MayEnd(may bool) {
	if p := c.Current(); p != nil {
		p.mayEnd(may)
	}
}

// LogEnd is where in the child's log the next line goes.
func (c *Child) LogEnd() (int64, error) {
	info, err := os.Stat(c.Current().Command.Log)
	if err != nil {
		return 0, fmt.Errorf("find the end of the log of %s: %w", c.name, err)
	}
	return info.Size(), nil
}

// Logged is true if the child's log has the words since the start and behind the position from, a
// LogEnd or 0; of more than 1 MiB the end is read.
func (c *Child) Logged(words string, from int64) (bool, error) {
	p := c.Current()
	text, err := namedfile.ReadEnd(p.Command.Log, max(from, p.logStart), mostLogged)
	return bytes.Contains(text, []byte(words)), err
}
