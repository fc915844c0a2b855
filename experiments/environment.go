package experiments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/experiments/schedule"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
)

// DownTimeout bounds the end of a stack, also after Ctrl-C.
const DownTimeout = 30 * time.Second

// environment is what loads run in: the checkout with its programs, the folder for the results, the
// plan and the stack. A search has one environment and a load for each rate.
type environment struct {
	// config is asked with the plan's load.
	asked, config Config
	root          string
	out           *Folder
	// scenario is the path of the k6 script.
	scenario string
	// plan is nil when nothing is broken on purpose.
	plan *chaos.Plan
	// started is when the lab began, before any load.
	started time.Time
	// marker begins the keys of all rows of this environment's loads.
	marker ledger.Marker
	// test is the load that k6 makes of the script.
	test  schedule.Test
	stack *stack.Stack
	log   *os.File
	// provenance and notes are for every Run here; warnings are about the time after the last load.
	provenance      reports.Provenance
	notes, warnings []string
	// death is the sentence about the part that died by itself, nil while all live.
	death atomic.Pointer[string]
}

// prepare refuses a wrong configuration before anything is started, and builds the children.
func prepare(ctx context.Context, c Config) (*environment, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	e := &environment{asked: c, config: c, started: time.Now().UTC(), marker: ledger.NewMarker()}
	var err error
	if e.root, err = FindRoot(); err != nil {
		return nil, err
	}
	if e.scenario, err = c.scenarioPath(e.root); err != nil {
		return nil, err
	}
	if e.plan, err = c.plan(); err != nil {
		return nil, err
	}
	e.config.fillFrom(e.plan)
	if err := e.checkPlan(); err != nil {
		return nil, err
	}
	if e.out, err = PrepareOut(c.Out, e.name(), e.started); err != nil {
		return nil, err
	}
	if err := e.prepareLoad(ctx); err != nil {
		return nil, errors.Join(err, e.out.Close())
	}
	return e, nil
}

// prepareLoad builds the children and reads the script.
func (e *environment) prepareLoad(ctx context.Context) (err error) {
	e.config.Say("building the consumer and k6")
	e.config.Programs, err = Build(ctx, e.root, e.config.Programs)
	if err != nil {
		return err
	}
	e.test, err = e.generator(e.out.Path, e.config.variables()).inspect(ctx)
	if err != nil {
		return err
	}
	if err := e.checkAsked(ctx); err != nil {
		return err
	}
	return e.describe()
}

// name is the scenario's.
func (e *environment) name() string { return scriptName(e.scenario) }

// id is the Run's: of a new folder its name, else the scenario's with the time.
func (e *environment) id() string {
	if e.config.Out == "" {
		return filepath.Base(e.out.Path)
	}
	return e.name() + "-" + e.started.Format("20060102-150405")
}

// generator returns a k6 with its files in dir.
func (e *environment) generator(dir string, env map[string]string) *generator {
	return &generator{
		program: e.config.Programs.K6, scenario: e.scenario, dir: dir, env: env,
		flags: e.config.segmentFlags(), start: e.startChild,
	}
}

// startChild starts a child that ends with the stack.
func (e *environment) startChild(c process.Command) (*process.Process, error) {
	return e.stack.Start(c)
}

// up brings the stack up, with what the plan needs: proxies, disks, a profile of Debezium.
func (e *environment) up(ctx context.Context) error {
	options := e.config.Stack
	options.ConsumerPath, options.Tree = e.config.Programs.Consumer, e.root
	options.Say = e.config.Say
	if e.plan != nil {
		options.Proxies, options.Disks = e.plan.Proxies(), e.plan.Disks()
		options.Profile = cmp.Or(options.Profile, e.plan.Profile())
	}
	var err error
	if e.log, err = os.Create(filepath.Join(e.out.Path, "stack.log")); err != nil {
		return fmt.Errorf("bring the stack up: %w", err)
	}
	options.Log = e.log
	e.config.Say("bringing the " + options.Kind + " stack up")
	if e.stack, err = stack.Up(ctx, options); err != nil {
		return fmt.Errorf("bring the stack up: %w", errors.Join(err, e.log.Close()))
	}
	e.describeStack()
	if e.plan == nil {
		return nil
	}
	for _, obstacle := range e.plan.Obstacles(e.stack) {
		e.config.Say(obstacle) // the Run has the same reason, with the fault that was not applied
	}
	return nil
}

// watchForDeaths ends the load when a part dies by itself, because the rest would measure the
// accident. The stack does not report parts killed by a fault of the plan.
func (e *environment) watchForDeaths(ctx context.Context, stop func()) {
	select {
	case <-ctx.Done():
	case sentence := <-e.stack.Died():
		e.death.Store(&sentence)
		stop()
	}
}

// died returns the sentence about the part that died by itself, or "".
func (e *environment) died() string {
	if sentence := e.death.Load(); sentence != nil {
		return *sentence
	}
	return ""
}

// down ends the stack, in bounded time also when the run was interrupted.
func (e *environment) down(ctx context.Context) error {
	var cleaned error
	if e.config.Stack.Kind == stack.External {
		cleaned = e.cleanUp(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DownTimeout)
	defer cancel()
	return errors.Join(cleaned, e.stack.Down(ctx), e.log.Close())
}
