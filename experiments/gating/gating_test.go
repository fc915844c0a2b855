package gating

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/gate"
)

// double measures a machine whose head is factor times as slow, in no time of the test's own.
type double struct {
	stored *reports.Run
	factor float64
	takes  time.Duration
	// change changes the n-th Run, counted from 1.
	change func(n int, run *reports.Run) error
	runs   int
	order  string
}

func (d *double) Close(context.Context) error { return nil }

func (d *double) Measure(ctx context.Context, consumer string) (*reports.Run, string, error) {
	d.runs++
	d.order += consumer[:1]
	select {
	case <-ctx.Done():
		return nil, "", ctx.Err()
	case <-time.After(d.takes):
	}
	run := *d.stored
	run.Stages = nil
	for _, stage := range d.stored.Stages {
		if stage.Stage == reports.E2E {
			noise := 10 * (1 + 0.01*float64(d.runs*7%5))
			if consumer == "head" {
				noise *= d.factor
			}
			stage.P50, stage.P95 = stage.P50*noise, stage.P95*noise
		}
		run.Stages = append(run.Stages, stage)
	}
	if d.change != nil {
		if err := d.change(d.runs, &run); err != nil {
			return nil, "", err
		}
	}
	return &run, fmt.Sprintf("%02d/run.json", d.runs), nil
}

// sessionOf is a session with a double that is 40 s slow.
func sessionOf(t *testing.T, d *double, budget time.Duration) *session {
	t.Helper()
	stored, err := reports.Load("../../reports/testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	d.stored, d.takes = stored, 40*time.Second
	return &session{measurer: d, say: func(string) {}, begin: time.Now(), budget: budget,
		programs: map[gate.Side]string{gate.Base: "base", gate.Head: "head"}}
}

func TestMeasureBoth(t *testing.T) {
	t.Parallel()
	verdict := func(status reports.Status, which ...int) func(int, *reports.Run) error {
		return func(n int, run *reports.Run) error {
			for _, at := range which {
				if n == at {
					run.Verdict = reports.Verdict{Status: status, Reasons: []string{"planted"}}
				}
			}
			return nil
		}
	}
	for _, c := range []struct {
		name    string
		factor  float64
		change  func(int, *reports.Run) error
		budget  time.Duration
		order   string
		status  reports.Status
		endedBy string
	}{
		{"clean", 1, nil, 12 * time.Minute, "bhhbhbbhhb", reports.Pass, ""},
		{"slower", 1.2, nil, 25 * time.Minute, "bhhbhbbhhbbhbhhbhbbh", reports.Fail, ""},
		{"faster", 0.5, nil, 25 * time.Minute, "bhhbhbbhhb", reports.Pass, ""},
		{"a lost row ends the gate", 1, verdict(reports.Fail, 3), 0, "bhh", reports.Fail, ""},
		{"a run in doubt is made again", 1, verdict(reports.Unknown, 2, 10), 0, "bhhhbhbbhhhb",
			reports.Pass, ""},
		{"slower, with runs in doubt", 1.3, verdict(reports.Unknown, 2, 10, 15), 0,
			"bhhhbhbbhhhbbhbbhhbhbbh", reports.Fail, ""},
		{"too many runs in doubt", 1, verdict(reports.Unknown, 1, 2, 3, 4, 5, 6), 0, "bbbbb",
			reports.Unknown, "5 runs were in doubt: planted"},
		{"no budget for all", 1, nil, 3 * time.Minute, "bhhb", reports.Unknown,
			"The budget of 3 minutes (--budget) ended the gate with 6 runs to go."},
		{"no budget for a suspicion", 1.3, nil, 7 * time.Minute, "bhhbhbbhhb", reports.Unknown,
			"The budget of 7 minutes (--budget) ended the gate with 10 runs to go."},
		{"a run that cannot be made", 1, func(n int, _ *reports.Run) error {
			if n == 4 {
				return errors.New("the consumer\ndied")
			}
			return nil
		}, 0, "bhhb", reports.Unknown, "A run could not be made: the consumer; died"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &double{factor: c.factor, change: c.change}
				s := sessionOf(t, d, c.budget)
				endedBy := s.measureBoth(t.Context(), gate.DefaultRule)
				got := gate.Judge(gate.DefaultRule, s.attempts)
				if d.order != c.order || got.Verdict.Status != c.status || endedBy != c.endedBy {
					t.Errorf("%s, %+v, %q; want %s, %s, %q", d.order, got.Verdict, endedBy,
						c.order, c.status, c.endedBy)
				}
				if spent := time.Since(s.begin); c.budget > 0 && spent > c.budget {
					t.Errorf("%v of %v were spent", spent, c.budget)
				}
			})
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		d := &double{factor: 1}
		s := sessionOf(t, d, 0)
		if endedBy := s.measureBoth(ctx, gate.DefaultRule); d.runs != 3 ||
			endedBy != "The gate was interrupted." {
			t.Errorf("%q after %d runs", endedBy, d.runs)
		}
	})
}

// TestAddGate: a gate of a calibration counts by its truth; of a planted slowdown all Runs are
// made, also where the gate was sure before.
func TestAddGate(t *testing.T) {
	t.Parallel()
	for planted, want := range map[string]gate.Trial{
		"":          {Gates: 1, Failed: 0, Extended: 0},
		"sleep=5ms": {Gates: 1, Failed: 0, Extended: 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &double{factor: 1}
			s := sessionOf(t, d, 0)
			trial := gate.Trial{Planted: planted}
			if endedBy := s.addGate(t.Context(), gate.DefaultRule, &trial); endedBy != "" {
				t.Fatal(endedBy)
			}
			pairs := gate.DefaultRule.Runs
			if planted != "" {
				pairs = gate.DefaultRule.MoreRuns
			}
			if trial.Gates != want.Gates || trial.Failed != want.Failed ||
				trial.Extended != want.Extended || len(trial.Pairs) != pairs {
				t.Errorf("%q: %+v, %d pairs, want %+v, %d", planted, trial, len(trial.Pairs),
					want, pairs)
			}
		})
	}
}

// TestCalibrationGoesOn: the gates of an earlier part are not run again, and their pairs count.
func TestCalibrationGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		builds := []wanted{{revision: "head"}, {revision: "head", planted: "sleep=5ms"}}
		part := func(gates int, before *gate.Calibration) (*gate.Calibration, int) {
			d := &double{factor: 1}
			s := sessionOf(t, d, 0)
			c := gate.NewCalibration(gate.DefaultRule)
			missing := s.runTrials(t.Context(), builds, []string{"base", "head"}, gates, before, c)
			if missing != "" {
				t.Fatal(missing)
			}
			return c, d.runs
		}
		first, runs := part(1, gate.NewCalibration(gate.DefaultRule))
		rule := gate.DefaultRule
		if runs != 2*rule.Runs+2*rule.MoreRuns || len(first.Trials) != 2 {
			t.Errorf("%d runs, %+v", runs, first.Trials)
		}
		whole, runs := part(3, first)
		if same := whole.Trials[0]; runs != 2*2*rule.Runs || same.Gates != 3 ||
			len(same.Pairs) != 3*rule.Runs || whole.Trials[1].Gates != 1 {
			t.Errorf("%d runs more, %+v", runs, whole.Trials)
		}
	})
}

// TestSlowdownsAreNowhereElse: the planted slowdowns work, and only a build with the tag has the
// file.
func TestSlowdownsAreNowhereElse(t *testing.T) {
	t.Parallel()
	const room = "github.com/cdclab/cdclab/consumer/documents"
	files := func(args ...string) string {
		out, err := exec.Command("go", append(append([]string{"list"}, args...), "-f",
			"{{.GoFiles}}", room)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if got := files(); strings.Contains(got, " planted.go") ||
		!strings.Contains(got, "unplanted.go") {
		t.Errorf("a build without the tag has %s", got)
	}
	if got := files("-tags", plantTag); !strings.Contains(got, " planted.go") {
		t.Errorf("a build with the tag has %s", got)
	}
	for _, plant := range Plants {
		text, err := exec.Command("go", "test", "-tags", plantTag, "-run", "TestPlanted",
			"-ldflags", "-X "+plantVariable+"="+plant, room).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", plant, err, text)
		}
	}
}

// TestResolve: a revision is a commit, and nothing else of git's is one.
func TestResolve(t *testing.T) {
	t.Parallel()
	root, err := experiments.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	head, err := resolve(t.Context(), root, "HEAD")
	tree, treeErr := resolve(t.Context(), root, Tree)
	if errors.Join(err, treeErr) != nil || len(head) != 40 || tree != head {
		t.Errorf("%q, %v; the tree %q, %v", head, err, tree, treeErr)
	}
	for _, wrong := range []string{"", "no-such", "--all", "-h", "HEAD:go.mod", "HEAD^{tree}"} {
		if got, err := resolve(t.Context(), root, wrong); err == nil ||
			!strings.Contains(err.Error(), "no revision") {
			t.Errorf("%q is %q, %v", wrong, got, err)
		}
	}
}

// TestGivenPrograms: the gate measures a given program as the program was at the beginning, names
// path and checksum, and builds no revision.
func TestGivenPrograms(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	base, head := filepath.Join(folder, "base"), filepath.Join(folder, "head")
	for path, text := range map[string]string{base: "#!/bin/sh\necho b\n", head: "#!/bin/sh\n"} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	said := ""
	made, err := makeBuilds(t.Context(), []wanted{{given: base},
		{revision: "no-such-revision", given: head}}, func(line string) { said += line })
	if err != nil {
		t.Fatal(err)
	}
	defer made.remove()
	if err := os.WriteFile(base, []byte("compiled again"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(made.paths[0]).Output()
	if err != nil || string(out) != "b\n" || said != "" {
		t.Errorf("the copy says %q, %v; the gate said %q", out, err, said)
	}
	got := made.builds
	if got[0].Revision != base || got[1].Revision != head || got[0].Commit != "" ||
		len(got[0].SHA256) != 64 || got[0].SHA256 == got[1].SHA256 {
		t.Errorf("%+v", got)
	}
}

// TestGivenProgramsAreChecked: nothing is built and nothing started for a file that cannot run.
func TestGivenProgramsAreChecked(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		text + ".none":     "no such file",
		text:               "is no executable file",
		filepath.Dir(text): "is no executable file",
	} {
		_, err := makeBuilds(t.Context(), []wanted{{revision: Tree}, {given: given}},
			func(line string) { t.Errorf("%s: %s", given, line) })
		if err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), given) {
			t.Errorf("%s: got %v, want %q", given, err, want)
		}
	}
}
