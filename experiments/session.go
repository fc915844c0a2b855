package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// Session is a running stack for many loads in sequence, each with a Run, so that two builds of the
// consumer are measured on the same warm servers. A Session is for one goroutine.
type Session struct {
	// Out is the absolute path of the Session's folder.
	Out   string
	whole *load
	// program is a link to the consumer under test: a started component runs what the link names.
	program string
	loads   int
}

// OpenSession brings a stack up for many loads of config's scenario, with the floor and the clocks
// measured once. Everything of the Session goes to config.Out, a new folder where Out is empty.
// Config.Programs.Consumer is the first consumer. The caller closes the Session.
func OpenSession(ctx context.Context, config Config) (*Session, error) {
	if config.PlanPath != "" || config.Stack.Kind == stack.External || config.Stack.Consumers > 1 {
		return nil, errors.New("a session has one consumer of its own, and no faults")
	}
	link, err := os.MkdirTemp("", "cdclab-session-")
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	s := &Session{program: filepath.Join(link, "consumer")}
	if err := s.pointAt(config.Programs.Consumer); err != nil {
		return nil, errors.Join(err, os.RemoveAll(link))
	}
	config.Programs.Consumer = s.program
	e, err := prepare(ctx, config)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(link))
	}
	if err := e.up(ctx); err != nil {
		return nil, errors.Join(err, e.out.Close(), os.RemoveAll(link))
	}
	s.whole, s.Out = e.newLoad(), e.out.Path
	if err := s.whole.floor(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	s.whole.measureClocks(ctx)
	return s, nil
}

// pointAt makes the link name another program, in one step.
func (s *Session) pointAt(consumer string) error {
	absolute, err := filepath.Abs(consumer)
	if err != nil {
		return fmt.Errorf("find the consumer program: %w", err)
	}
	if _, err := os.Stat(absolute); err != nil {
		return fmt.Errorf("find the consumer program: %w", err)
	}
	next := s.program + ".next"
	if err := errors.Join(os.Symlink(absolute, next), os.Rename(next, s.program)); err != nil {
		return fmt.Errorf("put the consumer program in: %w", err)
	}
	return nil
}

// Measure starts a consumer program in place of the one before, runs the load once, waits until
// everything has arrived, has every row checked, and stores the Run in a folder of its own in Out:
// path is relative to Out. An error means that the Session is of no more use.
func (s *Session) Measure(ctx context.Context, consumer string) (run *reports.Run, path string,
	err error) {
	component, err := s.whole.stack.Component(stack.Consumer)
	if err == nil {
		err = errors.Join(component.Stop(ctx), s.pointAt(consumer))
	}
	if err == nil {
		err = component.Start(ctx)
	}
	if err != nil {
		return nil, "", fmt.Errorf("change the consumer: %w", err)
	}
	p := &s.whole.run.Provenance
	if p.ConsumerSHA256, err = fileSHA256(s.program); err != nil {
		return nil, "", err
	}
	s.loads++
	env, seed := maps.Clone(s.whole.k6.env), fmt.Sprint(s.whole.config.seed()+int64(s.loads))
	env["SEED"], env["CDC_SEED"] = seed, seed // the rows of each k6 follow from its seed
	s.whole.run.TestRun.StartTime = time.Now().UTC()
	name := fmt.Sprintf("%02d-%s", s.loads, s.whole.name())
	one, err := s.whole.runAnother(ctx, name, env, func(*load) {})
	if err != nil {
		return nil, "", err
	}
	one.check(ctx)
	one.run.TestRun.ID = fmt.Sprintf("%s-%02d", s.whole.id(), s.loads)
	one.run.Conclude()
	one.run.Mend()
	path = filepath.Join(name, runName)
	return one.run, path, one.run.Save(filepath.Join(s.Out, path))
}

// Close ends the stack.
func (s *Session) Close(ctx context.Context) error {
	return errors.Join(s.whole.down(ctx), s.whole.out.Close(),
		os.RemoveAll(filepath.Dir(s.program)))
}

// runAnother runs a load on the same stack with another environment for the script, in a folder
// name of the whole load's, and reads the measurements. before is called before k6 starts. The load
// is nil where the load measured nothing.
func (l *load) runAnother(ctx context.Context, name string, env map[string]string,
	before func(*load)) (*load, error) {
	dir := filepath.Join(l.out.Path, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of a load: %w", err)
	}
	run := *l.run
	run.Notes, run.Warnings = nil, nil
	child := &load{environment: l.environment, k6: l.generator(dir, env), run: &run}
	var err error
	if child.test, err = child.k6.inspect(ctx); err != nil {
		return nil, err
	}
	run.Load = l.plannedLoad(child.test)
	before(child)
	err = child.generate(ctx)
	if err != nil && !child.hasBegun() {
		return nil, err
	}
	if err == nil {
		child.drain(ctx)
		child.readStagesSince(ctx)
	}
	child.read()
	child.run.Conclude()
	if err == nil && child.run.TestRun.Partial {
		err = errors.New(child.run.TestRun.EndedBy)
	}
	return child, err
}
