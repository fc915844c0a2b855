// Package experiments goes from nothing to a Run: it brings a stack up, runs a k6 scenario on it as
// a child process, perhaps with a chaos plan, waits until everything has arrived, has every row
// checked, and hands over one run.json with its report. It generates no load and decides no verdict
// itself. Start reading at Run; session.go holds its steps, collect.go what becomes of the ledger.
package experiments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// downTimeout bounds the end of a stack, also after Ctrl-C.
const downTimeout = 30 * time.Second

// Result is a finished Run, its comparison with the stored baseline (nil where none is stored), and
// where its report lies.
type Result struct {
	Run        *reports.Run
	Comparison *reports.Comparison
	ReportPath string
}

// Run runs one experiment. An error means that it could not run; a run that was interrupted, or
// whose measurement cannot be trusted, is a Result whose verdict is unknown. In every case nothing
// of the stack is left when it returns, unless Config.Stack.Keep.
func Run(ctx context.Context, config Config) (*Result, error) {
	s, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := s.up(ctx); err != nil {
		return nil, err
	}
	return s.complete(ctx)
}

// complete takes a Run from a stack that is up to its result.
func (s *session) complete(ctx context.Context) (*Result, error) {
	if err := errors.Join(s.measure(ctx), s.down(ctx)); err != nil {
		return nil, err
	}
	return s.finish()
}

// measure is the part of a Run while the stack is up.
func (s *session) measure(ctx context.Context) error {
	if err := s.floor(ctx); err != nil {
		return s.interrupted(ctx, err)
	}
	s.measureClocks(ctx)
	if s.run.TestRun.Scenario == Breakpoint {
		if err := s.search(ctx); err != nil {
			return s.interrupted(ctx, err)
		}
		s.check(ctx)
		return nil
	}
	if err := s.load(ctx); err != nil {
		return s.interrupted(ctx, err)
	}
	s.drain(ctx)
	s.countDuplicates(ctx)
	s.check(ctx)
	s.collectStack(ctx)
	return nil
}

// interrupted turns an error of an interrupted run into a partial run; any other error stays.
func (s *session) interrupted(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		s.partial("interrupted before the load was over")
	case s.died() != "":
		s.partial(s.died())
	default:
		return err
	}
	s.run.Consistency.Error = "the run was ended before its rows were checked"
	return nil
}

// finish judges the Run and writes run.json and report.html.
func (s *session) finish() (*Result, error) {
	run := s.run
	s.read()
	run.Conclude()
	comparison, err := s.compareWithBaseline()
	if err != nil {
		s.warn(err.Error())
	}
	return WriteResult(s.out, run, comparison)
}

// WriteResult writes run.json and report.html into a folder that is there.
func WriteResult(out string, run *reports.Run, comparison *reports.Comparison) (*Result, error) {
	if err := writeRun(filepath.Join(out, "run.json"), run); err != nil {
		return nil, err
	}
	path := filepath.Join(out, "report.html")
	if err := WriteReport(path, run, comparison); err != nil {
		return nil, err
	}
	return &Result{run, comparison, path}, nil
}

// read fills in what the load measured, of which k6's ledger and the looks tell, once: a search has read
// the probe that it chose.
func (s *session) read() {
	if s.wasRead {
		return
	}
	s.wasRead = true
	s.run.TestRun.EndTime = time.Now().UTC() // unless the ledger knows better
	if err := s.readLedger(); err != nil {
		s.partial(err.Error())
	}
	if s.plan == nil { // a fault is meant to make writes fail
		for _, complaint := range complaints(s.k6.logPath()) {
			s.warn(complaint)
		}
	}
	if s.looker != nil {
		s.run.Looks, s.run.Resources = s.looker.looks(s.run.TestRun.StartTime), s.looker.used.resources()
	}
}

func (s *session) compareWithBaseline() (*reports.Comparison, error) {
	base, err := reports.LoadBaseline(filepath.Join(s.root, "baselines"), s.run.Provenance.Stack, s.run.TestRun.Scenario)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("compare with the stored baseline: %w", err)
	}
	return reports.Compare(base, s.run), nil
}

func writeRun(path string, run *reports.Run) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the run: %w", err)
	}
	defer file.Close()
	if err := run.Encode(file); err != nil {
		return fmt.Errorf("write the run %s: %w", path, err)
	}
	return file.Close()
}

// WriteReport writes the self-contained HTML report of a run.
func WriteReport(path string, run *reports.Run, comparison *reports.Comparison) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer file.Close()
	if err := reports.WriteHTML(file, run, comparison); err != nil {
		return fmt.Errorf("write the report %s: %w", path, err)
	}
	return file.Close()
}
