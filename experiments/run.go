// Package experiments goes from nothing to a Run. Run brings a stack up, runs a k6 scenario there
// as a child process, perhaps with a chaos plan, waits until everything has arrived, has every row
// checked, and hands over one run.json with its report. The package generates no load and decides
// no verdict itself. Start reading at Run: an environment is what a load runs in, a load holds the
// steps, and tally.go what becomes of the ledger.
package experiments

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/archive"
)

// Result is a finished Run, the comparison with the stored baseline (nil where none is stored), and
// the path of the report, or of run.json where no report could be written.
type Result struct {
	Run        *reports.Run
	Comparison *reports.Comparison
	ReportPath string
}

// Warn adds a warning to the Run, in the stored Run too.
func (r *Result) Warn(warning string) error {
	r.Run.Warnings = append(r.Run.Warnings, warning)
	if r.ReportPath == "" { // stored nowhere
		return nil
	}
	return r.Run.Save(filepath.Join(filepath.Dir(r.ReportPath), runName))
}

// Run runs one experiment. An error means that the experiment could not run; an interrupted run, or
// a run with an untrusted measurement, is a Result with the verdict unknown, and whatever fails
// after the load is a warning in a Result. A Result with an error is a Run that could not be stored
// anywhere. In every case nothing of the stack is left when Run returns, unless Config.Stack.Keep.
func Run(ctx context.Context, config Config) (*Result, error) {
	e, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	defer e.out.Close()
	if err := e.up(ctx); err != nil {
		return nil, err
	}
	return e.newLoad().complete(ctx)
}

// complete takes a Run from a running stack to the result.
func (l *load) complete(ctx context.Context) (*Result, error) {
	measured, err := l.measure(ctx)
	if err == nil {
		measured.keepAlerts()
		measured.keep()
	}
	downErr := l.down(ctx)
	if err != nil && downErr != nil { // the ledger still names what is to be cleaned up
		return nil, errors.Join(err, downErr)
	}
	if err != nil {
		return nil, errors.Join(err, l.out.forget())
	}
	if downErr != nil {
		measured.warn("after the load: " + oneLine(downErr))
	}
	return measured.finish()
}

// measure is the part of a Run while the stack is up. measure returns the measured load: of a
// search the load with the highest held rate, else l. An error means that nothing was measured.
func (l *load) measure(ctx context.Context) (*load, error) {
	if err := l.floor(ctx); err != nil {
		return l, l.interrupted(ctx, err)
	}
	l.measureClocks(ctx)
	if l.searches() {
		best, err := l.search(ctx)
		if err != nil {
			return best, best.interrupted(ctx, err)
		}
		best.drain(ctx) // of the rates tried later
		best.check(ctx)
		return best, nil
	}
	l.keepBeforeLoad()
	if err := l.generate(ctx); err != nil {
		return l, l.interrupted(ctx, err)
	}
	l.keep()
	l.drain(ctx)
	l.readAgain(ctx)
	l.check(ctx)
	l.readStagesSince(ctx)
	return l, nil
}

// interrupted turns an error into a partial run, where the run was interrupted or had begun to
// measure; any other error stays.
func (l *load) interrupted(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		l.partial("interrupted before the load was over")
	case l.died() != "":
		l.partial(l.died())
	case l.hasBegun():
		l.partial(oneLine(err))
	default:
		return err
	}
	l.run.Consistency.Error = "the run was ended before its rows were checked"
	return nil
}

// oneLine returns the text of several joined errors as a sentence.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// runName is the file of the Run in its folder.
const runName = "run.json"

// endedUnderLoad says of a stored Run that the rest of the measurement is in the ledger alone.
const endedUnderLoad = "the lab ended before the load was over"

// LoadRun reads a stored Run as reports.Load does, and completes the Run of a lab killed under the
// load with what the ledger in the Run's folder holds. LoadRun completes no other Run.
func LoadRun(path string) (*reports.Run, error) {
	run, err := reports.Load(path)
	if err != nil || run.TestRun.EndedBy != endedUnderLoad || run.Summary.TotalOperations > 0 ||
		!filepath.IsLocal(run.Ledger.Path) {
		return run, err
	}
	dir := filepath.Join(filepath.Dir(path), filepath.Dir(run.Ledger.Path))
	l := &load{environment: &environment{}, k6: &generator{dir: dir}, run: run}
	kept := run.Ledger.Path
	l.read()
	run.Ledger.Path = kept
	run.Conclude()
	run.Mend()
	return run, nil
}

// keepBeforeLoad stores what is known before the load, so that a lab killed under the load leaves a
// readable run.json beside the ledger.
func (l *load) keepBeforeLoad() {
	early := *l
	run := *l.run
	early.run, early.wasRead = &run, true
	run.TestRun.EndTime, run.Summary.DroppedIterations = run.TestRun.StartTime, -1
	run.TestRun.Partial, run.TestRun.EndedBy = true, endedUnderLoad
	run.Ledger = reports.Ledger{Path: l.ledgerInFolder(), Truncated: true}
	early.keep()
}

// ledgerInFolder returns the path of the ledger from the Run's folder.
func (l *load) ledgerInFolder() string {
	path, err := filepath.Rel(l.out.Path, l.k6.ledgerPath())
	if err != nil { // never: both are absolute
		path = filepath.Base(l.k6.ledgerPath())
	}
	return path
}

// keep stores the Run as known so far, so that whatever ends the lab from here on costs only the
// rest. A failure is no loss yet, because finish stores the Run again.
func (l *load) keep() {
	l.read()
	run := *l.run
	run.Notes, run.Warnings = slices.Clip(run.Notes), slices.Clip(run.Warnings)
	if c := &run.Consistency; !c.Checked {
		c.Error = cmp.Or(c.Error, "the lab ended before the rows were checked")
	}
	run.Conclude()
	run.Mend()
	l.run.LeftOut = run.LeftOut // Mend changes what both share
	if err := l.out.saveRun(&run); err != nil {
		l.warn(err.Error())
	}
}

// finish judges the Run and writes run.json and report.html.
func (l *load) finish() (*Result, error) {
	l.run.Warnings = append(l.run.Warnings, l.warnings...)
	l.read()
	if l.plan != nil {
		l.plan.Expected().AddTo(l.run)
	}
	l.run.Conclude()
	var comparison *reports.Comparison
	samples, why, err := archive.Baseline(BaselineDir(l.root), l.run)
	switch {
	case err != nil:
		l.warn("compare with the stored baseline: " + err.Error())
	case len(samples) > 0:
		comparison = reports.Compare(archive.Typical(samples), l.run)
	case why != "":
		l.run.Notes = append(slices.Clip(l.run.Notes), why)
	}
	return l.out.WriteResult(l.run, comparison)
}
