// Package gating runs the gate of a pull request: two builds of the consumer take turns on a warm
// stack, and the rule of reports/gate decides. The package decides nothing itself. Start reading at
// Run; builds.go makes the builds, and calibrate.go measures how often the gate is wrong.
package gating

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/unit"
)

// Config says which builds are compared, and how.
type Config struct {
	// Base and Head are revisions as git knows them; Tree is the files as they are.
	Base, Head string
	// BaseConsumer and HeadConsumer are programs of somebody's own, each in place of the consumer
	// of a revision.
	BaseConsumer, HeadConsumer string
	Rule                       gate.Rule
	// Budget bounds the whole gate; no load begins that would end later.
	Budget time.Duration
	// Lab is the configuration of every load.
	Lab experiments.Config
}

// Tree stands for the files of the checkout as they are, committed or not.
const Tree = "."

// The load of a gate: short, because many short loads tell more than a long one.
const (
	scenario = "baseline"
	length   = 30 * time.Second
	// mostVoid is how many Runs in doubt are made again.
	mostVoid = 4
)

// DefaultConfig compares the main branch with the files of the checkout.
func DefaultConfig() Config {
	c := Config{Base: "main", Head: Tree, Rule: gate.DefaultRule, Budget: 25 * time.Minute,
		Lab: experiments.DefaultConfig()}
	duration := length
	c.Lab.Scenario, c.Lab.Duration = scenario, &duration
	return c
}

// measurer is an experiments.Session, or the double of a test.
type measurer interface {
	Measure(ctx context.Context, consumer string) (run *reports.Run, path string, err error)
	Close(ctx context.Context) error
}

// session is what a gate and a calibration measure in.
type session struct {
	measurer
	out    string
	say    func(string)
	begin  time.Time
	budget time.Duration
	// programs are the consumers of the sides.
	programs map[gate.Side]string
	attempts []gate.Attempt
	// warm is the Run that warmed the stack up; all have its host and conditions.
	warm *reports.Run
	// broken is true if no further Run can be made.
	broken bool
	// slowest is the longest Run so far.
	slowest time.Duration
}

// Run builds both consumers, runs the loads in turn, and decides. out is the folder of the Runs. An
// error beside no Result means that nothing was decided; a gate interrupted or out of budget is a
// Result with the verdict unknown.
func Run(ctx context.Context, c Config) (result *gate.Result, out string, err error) {
	begin := time.Now()
	if err := c.Rule.Validate(); err != nil {
		return nil, "", err
	}
	made, err := makeBuilds(ctx, []wanted{{revision: c.Base, given: c.BaseConsumer},
		{revision: c.Head, given: c.HeadConsumer}}, c.Lab.Say)
	if err != nil {
		return nil, "", err
	}
	defer made.remove()
	s, err := open(ctx, c, begin, made.paths[0])
	if err != nil {
		return nil, "", err
	}
	s.programs = map[gate.Side]string{gate.Base: made.paths[0], gate.Head: made.paths[1]}
	endedBy := s.measureBoth(ctx, c.Rule)
	result = gate.Judge(c.Rule, s.attempts)
	result.Base, result.Head = made.builds[0], made.builds[1]
	result.StartTime, result.Budget = begin.UTC(), c.Budget.Minutes()
	s.describe(result)
	if endedBy != "" {
		result.Verdict = result.Verdict.Merge(reports.Verdict{Status: reports.Unknown,
			Reasons: []string{endedBy}})
	}
	err = s.Close(ctx)
	result.Minutes = time.Since(begin).Minutes()
	return result, s.out, err
}

// open brings the stack up and warms the stack up with a load besides.
func open(ctx context.Context, c Config, begin time.Time, consumer string) (*session, error) {
	c.Lab.Programs.Consumer = consumer
	opened, err := experiments.OpenSession(ctx, c.Lab)
	if err != nil {
		return nil, err
	}
	s := &session{measurer: opened, out: opened.Out, say: c.Lab.Say, begin: begin,
		budget: c.Budget}
	s.say("warming up: a run that does not count")
	began := time.Now()
	if s.warm, _, err = s.Measure(ctx, consumer); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	s.slowest = time.Since(began)
	return s, nil
}

// describe fills in the common facts of the session's Runs, and the known error rates.
func (s *session) describe(result *gate.Result) {
	result.Host, result.Conditions = s.warm.Provenance.Host, conditions(s.warm)
	rates, err := knownRates(s.warm, result.Rule)
	if err != nil {
		s.say("without error rates: " + err.Error())
	}
	result.Rates = rates
}

// conditions are equal for gates with the same error rates on a machine.
func conditions(run *reports.Run) string {
	p := &run.Provenance
	all := []string{p.Stack, p.MongoKind, run.TestRun.Scenario,
		fmt.Sprintf("schema %d", run.SchemaVersion)}
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		all = append(all, name+" "+p.Config[name])
	}
	return strings.Join(all, "; ")
}

// measureBoth runs the loads of the rule, and more on suspicion. The returned sentence says why the
// gate ended early, "" when it did not.
func (s *session) measureBoth(ctx context.Context, rule gate.Rule) (endedBy string) {
	first := len(s.attempts)
	for _, runs := range []int{rule.Runs, rule.MoreRuns} {
		order := gate.Order(2 * runs)[len(s.attempts)-first-s.void(first):]
		for len(order) > 0 {
			if endedBy = s.measureNext(ctx, order[0], len(order)); endedBy != "" {
				return endedBy
			}
			switch verdict := s.attempts[len(s.attempts)-1].Verdict; verdict.Status {
			case reports.Pass:
				order = order[1:]
			case reports.Fail:
				return "" // an invariant needs no more Runs
			default: // made again
				if s.void(first) > mostVoid {
					return fmt.Sprintf("%d runs were in doubt: %s", s.void(first),
						strings.Join(verdict.Reasons, " "))
				}
			}
		}
		so := gate.Judge(rule, s.attempts[first:])
		if len(so.Suspicious) == 0 {
			return ""
		}
		if runs < rule.MoreRuns {
			s.say("suspicious: " + strings.Join(so.Suspicious, ", ") + "; more runs")
		}
	}
	return ""
}

// void counts the Runs in doubt since an attempt.
func (s *session) void(first int) (void int) {
	for _, a := range s.attempts[first:] {
		if a.Verdict.Status == reports.Unknown {
			void++
		}
	}
	return void
}

// measureNext runs a load of a side, unless the load would end after the budget.
func (s *session) measureNext(ctx context.Context, side gate.Side, left int) (endedBy string) {
	began := time.Now()
	if spent := began.Sub(s.begin); s.budget > 0 && spent+s.slowest > s.budget {
		return fmt.Sprintf("The budget of %.0f minutes (--budget) ended the gate with %s to go.",
			s.budget.Minutes(), unit.Plural(int64(left), "run", "runs"))
	}
	run, path, err := s.Measure(ctx, s.programs[side])
	s.broken = ctx.Err() != nil || err != nil
	if ctx.Err() != nil {
		return "The gate was interrupted."
	}
	if err != nil {
		return "A run could not be made: " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	took := time.Since(began)
	s.slowest = max(s.slowest, took)
	s.attempts = append(s.attempts, gate.Attempt{Side: side, Path: filepath.ToSlash(path),
		Run: run, Verdict: run.Verdict, Seconds: took.Seconds()})
	s.say(fmt.Sprintf("%d to go: %s %s, e2e p50 %s ms, p95 %s ms, in %.0f s", left-1, side,
		run.Verdict.Status, unit.Ms(run.Summary.Latency.P50), unit.Ms(run.Summary.Latency.P95),
		took.Seconds()))
	return ""
}
