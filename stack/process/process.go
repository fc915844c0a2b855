// Package process starts child processes and ends every child with the lab, however the lab ends.
// The package holds a child, its tree of descendants, the folder with their data, and the clean-up
// after a dead lab. The package knows no server. Start reading at Child, then Process, Folder and
// CleanUp.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/namedfile"
)

const (
	// stopGrace is how long a child may take to end in good order before it is killed.
	stopGrace = 15 * time.Second
	// killGrace is how long the kernel may take to end a killed tree; only a hung disk needs it.
	killGrace = 10 * time.Second
	// PollEvery is how often a condition of a child is looked at.
	PollEvery = 15 * time.Millisecond
	// logLines of a dead child's log go into the error.
	logLines = 12
	// mostTail bounds the bytes of those lines.
	mostTail = 8 << 10
)

// Command says how to start one child process.
type Command struct {
	// Name of the Component, for errors.
	Name string
	Path string
	Args []string
	// Kind says what of the lab's own environment the child gets; 0 is Server.
	Kind Kind
	// Env is NAME=value for the child alone.
	Env []string
	// Dir is the working directory; empty is the stack's data folder.
	Dir string
	// Log is the file for the child's output, appended.
	Log string
	// Output is the file for the child's standard output, written anew; empty is Log.
	Output string
	// Task is true for a child that ends by itself, and nothing is wrong with that.
	Task bool
	// Owner is the user of the child; nil is the lab's own.
	Owner *syscall.Credential
	// Quit ends the child at once, and nothing of the child stays behind; 0 is SIGKILL. The next
	// lab after a dead lab sends Quit first, because SIGKILL leaves PostgreSQL's shared memory
	// behind.
	Quit syscall.Signal
}

// Process is a started child, in a session of its own: a Ctrl-C on the lab's terminal does not
// reach it. Its methods are safe for concurrent use.
type Process struct {
	Command  Command
	process  *os.Process
	identity Identity
	// logStart is the position in the log at this start.
	logStart int64
	// Done is closed when the child has been waited for; exit is valid from then on.
	Done chan struct{}
	exit error

	mu       sync.Mutex
	expected bool
}

// startProcess starts the child and returns at once; Ready waits until the child serves. Components
// use Folder.Start, which also records the child for the next lab's clean-up.
func startProcess(c Command) (*Process, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: open its log: %w", c.Name, err)
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("start %s: open its log: %w", c.Name, err)
	}
	child := exec.Command(c.Path, c.Args...)
	child.Dir, child.Stdout, child.Stderr = c.Dir, log, log
	if c.Output != "" {
		output, err := os.OpenFile(c.Output, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("start %s: open the file for its output: %w", c.Name, err)
		}
		defer output.Close()
		child.Stdout = output
	}
	child.Env = Environment(c.Kind, c.Env...)
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.Owner}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &Process{Command: c, process: child.Process, logStart: begin, Done: make(chan struct{}),
		expected: c.Task}
	// Even an ended child is seen before the wait.
	if self, err := Find(child.Process.Pid); err == nil {
		p.identity = self.Identity
	}
	go func() {
		p.exit = child.Wait()
		close(p.Done)
	}()
	return p, nil
}

// PID is the number of the child.
func (p *Process) PID() int { return p.process.Pid }

// Alive is true if the child has not ended; nil is a child that was never started.
func (p *Process) Alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.Done:
		return false
	default:
		return true
	}
}

// Ready returns when probe succeeds. An error comes when the child dies first, with the end of its
// log, and when ctx ends, with the last error of probe.
func (p *Process) Ready(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	probing, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-p.Done:
			end() // nobody is left to answer the probe
		case <-probing.Done():
		}
	}()
	for {
		err := probe(probing)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-probing.Done():
		}
		if !p.Alive() {
			return p.died()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("start %s: %w while waiting for it to serve (%w)%s",
				p.Command.Name, context.Cause(ctx), err, p.logTail())
		}
	}
}

// died describes the end of a child still expected to live.
func (p *Process) died() error {
	how := "exit status 0"
	if p.exit != nil {
		how = p.exit.Error()
	}
	return fmt.Errorf("%s (%s, pid %d) ended by itself: %s%s",
		p.Command.Name, p.Command.Path, p.PID(), how, p.logTail())
}

// mostLogged bounds what Logged reads.
const mostLogged = 1 << 20

// Logged is what the child's log has since the start; of more than 1 MiB the end.
func (p *Process) Logged() ([]byte, error) {
	return namedfile.ReadEnd(p.Command.Log, p.logStart, mostLogged)
}

// lastLines returns the last lines of the child's log since the start.
func (p *Process) lastLines() (string, error) {
	text, err := namedfile.ReadEnd(p.Command.Log, p.logStart, mostTail)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-logLines):], "\n  "), err
}

// logTail says how the child's log ends.
func (p *Process) logTail() string {
	lines, err := p.lastLines()
	switch {
	case err != nil:
		return ""
	case lines == "":
		return "; its log is empty"
	}
	return "; its log ends:\n  " + lines
}

// stop asks the child to end with the signal and waits, and then kills the rest of the tree. After
// stopGrace, or when ctx ends, all of the tree is killed, with an error.
func (p *Process) stop(ctx context.Context, signal syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	p.expect()
	rest := p.tree()
	if err := signalMainThread(p.PID(), signal); err != nil {
		return errors.Join(fmt.Errorf("stop %s: %w", p.Command.Name, err), p.Kill())
	}
	// A frozen child would act on the signal only after a thaw.
	if err := p.resume(); err != nil {
		return errors.Join(fmt.Errorf("stop %s: %w", p.Command.Name, err), p.Kill())
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.Done:
		if err := killAll(rest); err != nil {
			return fmt.Errorf("stop %s: what it left: %w", p.Command.Name, err)
		}
		return nil
	case <-grace.C:
		return errors.Join(fmt.Errorf("stop %s: still there %v after %v: killed%s",
			p.Command.Name, stopGrace, signal, p.logTail()), p.Kill())
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: %w: killed", p.Command.Name, ctx.Err()), p.Kill())
	}
}

// Kill ends the child and all its descendants with SIGKILL and waits until all are gone. A child
// that was never started, or has ended, is no error.
func (p *Process) Kill() error { return p.end(0) }

// end is Kill with a signal to go first; see endTree.
func (p *Process) end(quit syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	p.expect()
	if err := endTree(p.identity, quit); err != nil {
		return fmt.Errorf("kill %s: %w", p.Command.Name, err)
	}
	<-p.Done
	return nil
}

// pause freezes the child and all its descendants.
func (p *Process) pause() error {
	// The root first: once frozen, the root forks no more.
	for _, one := range p.tree() {
		if err := one.Signal(syscall.SIGSTOP); err != nil {
			return fmt.Errorf("pause %s: %w", p.Command.Name, err)
		}
	}
	return nil
}

// resume ends pause; on a child that is not frozen, resume does nothing.
func (p *Process) resume() error {
	for _, one := range slices.Backward(p.tree()) {
		if err := one.Signal(syscall.SIGCONT); err != nil {
			return fmt.Errorf("resume %s: %w", p.Command.Name, err)
		}
	}
	return nil
}

// tree is the child and its descendants, parents before children; empty after the child's end.
func (p *Process) tree() []Identity {
	if !p.Alive() {
		return nil
	}
	return append([]Identity{p.identity}, descendants(p.PID())...)
}

// PIDs are the child and its descendants, parents before children; empty after the child's end.
func (p *Process) PIDs() []int {
	var pids []int
	for _, one := range p.tree() {
		pids = append(pids, one.PID)
	}
	return pids
}

// Await waits for the child's own end and returns how the child ended, as exec.Cmd.Wait does. When
// ctx ends first, the child gets the signal and so much time (at once SIGKILL for 0), then the
// whole tree SIGKILL, and Await returns the error of ctx.
func (p *Process) Await(ctx context.Context, quit syscall.Signal, grace time.Duration) error {
	select {
	case <-p.Done:
		return p.exit
	case <-ctx.Done():
	}
	if quit == 0 {
		return errors.Join(ctx.Err(), p.Kill())
	}
	p.expect()
	failed := errors.Join(p.identity.Signal(quit), p.resume())
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-p.Done:
	case <-late.C:
		failed = errors.Join(failed, p.Kill())
	}
	return errors.Join(ctx.Err(), failed)
}

func (p *Process) expect() { p.mayEnd(true) }

func (p *Process) mayEnd(may bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = may
}

// wasExpected is true if the lab itself ended the child.
func (p *Process) wasExpected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expected
}
