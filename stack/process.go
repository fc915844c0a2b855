package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a child may take to end in good order before it is killed.
	stopGrace = 15 * time.Second
	// killGrace is how long the kernel may take to end a killed tree; only a hung disk needs it.
	killGrace = 10 * time.Second
	// pollEvery is how often a condition of a child is looked at.
	pollEvery = 15 * time.Millisecond
	// logLines of a dead child's log go into the error.
	logLines = 12
)

// command says how to start one child process.
type command struct {
	// name of the Component, for errors.
	name string
	path string
	args []string
	// env is added to the lab's own environment.
	env []string
	// dir is the working directory; empty is the stack's data folder.
	dir string
	// log is the file its output is appended to.
	log string
	// owner is the user it runs as; nil is the lab's own.
	owner *syscall.Credential
}

// process is a started child, in a session of its own: a Ctrl-C on the lab's terminal does not
// reach it. Its methods are safe for concurrent use.
type process struct {
	command command
	process *os.Process
	// logStart is where in the log this start begins.
	logStart int64
	// done is closed when the child has been waited for; exit is valid after that.
	done chan struct{}
	exit error

	mu       sync.Mutex
	expected bool
}

// startProcess starts the child and returns at once; ready waits until it serves. Components use
// folder.start, which also records the child for the next lab's clean-up.
func startProcess(c command) (*process, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: open its log: %w", c.name, err)
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("start %s: open its log: %w", c.name, err)
	}
	child := exec.Command(c.path, c.args...)
	child.Dir, child.Stdout, child.Stderr = c.dir, log, log
	child.Env = append(os.Environ(), c.env...)
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.owner}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	p := &process{command: c, process: child.Process, logStart: begin, done: make(chan struct{})}
	go func() {
		p.exit = child.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.process.Pid }

// alive says whether the child has not ended; nil is a child that was never started.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ready returns when probe succeeds. It fails when the child dies first, with the end of its log,
// and when ctx ends, with what probe said last.
func (p *process) ready(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.died()
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w while waiting for it to serve (%w)%s",
				p.command.name, context.Cause(ctx), err, p.logTail())
		case <-tick.C:
		}
	}
}

// died describes the end of a child that should still be there.
func (p *process) died() error {
	how := "exit status 0"
	if p.exit != nil {
		how = p.exit.Error()
	}
	return fmt.Errorf("%s (%s, pid %d) ended by itself: %s%s",
		p.command.name, p.command.path, p.pid(), how, p.logTail())
}

// logTail is the end of what the child logged since it was started, on lines of its own.
func (p *process) logTail() string {
	const most = 8 << 10
	text, err := fileEnd(p.command.log, p.logStart, most)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-logLines):]
	if len(lines) == 1 && lines[0] == "" {
		return "; its log is empty"
	}
	return "; its log ends:\n  " + strings.Join(lines, "\n  ")
}

// stop asks the child to end with the signal and waits; what it leaves of its tree is killed. After
// stopGrace, or when ctx ends, all of it is killed and that is the error.
func (p *process) stop(ctx context.Context, signal syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	p.expect()
	tree := descendants(p.pid())
	if err := p.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(fmt.Errorf("stop %s: %w", p.command.name, err), p.kill())
	}
	// A frozen child would act on the signal only once it is thawed.
	if err := p.resume(); err != nil {
		return errors.Join(fmt.Errorf("stop %s: %w", p.command.name, err), p.kill())
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		if err := killAll(tree); err != nil {
			return fmt.Errorf("stop %s: what it left: %w", p.command.name, err)
		}
		return nil
	case <-grace.C:
		return errors.Join(fmt.Errorf("stop %s: still there %v after %v: killed%s",
			p.command.name, stopGrace, signal, p.logTail()), p.kill())
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: %w: killed", p.command.name, ctx.Err()), p.kill())
	}
}

// kill ends the child and all its descendants with SIGKILL and waits until they are gone.
func (p *process) kill() error {
	if !p.alive() {
		return nil
	}
	p.expect()
	if err := killTree(p.pid()); err != nil {
		return fmt.Errorf("kill %s: %w", p.command.name, err)
	}
	<-p.done
	return nil
}

// pause freezes the child and all its descendants.
func (p *process) pause() error {
	// The root first: once frozen it forks no more.
	for _, pid := range p.pids() {
		if err := signalPID(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("pause %s: %w", p.command.name, err)
		}
	}
	return nil
}

// resume ends pause; on a child that is not frozen it does nothing.
func (p *process) resume() error {
	pids := p.pids()
	for i := len(pids) - 1; i >= 0; i-- {
		if err := signalPID(pids[i], syscall.SIGCONT); err != nil {
			return fmt.Errorf("resume %s: %w", p.command.name, err)
		}
	}
	return nil
}

// pids are the child and its descendants, parents before children; empty when it has ended.
func (p *process) pids() []int {
	if !p.alive() {
		return nil
	}
	pids := []int{p.pid()}
	for _, d := range descendants(p.pid()) {
		pids = append(pids, d.PID)
	}
	return pids
}

func (p *process) expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// wasExpected says whether the lab itself ended the child.
func (p *process) wasExpected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expected
}
