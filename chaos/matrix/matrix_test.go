package matrix

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// TestChoose: a seed has each fault on each target of each stack, first every kind once.
func TestChoose(t *testing.T) {
	t.Parallel()
	cells, err := Choose(Choice{Stacks: stack.Started, FirstSeed: 4, Seeds: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, kind := range faults.Table() {
		want += len(kind.TargetsOf(1))
	}
	if want *= 2 * len(stack.Started); len(cells) != want {
		t.Errorf("%d cells, want %d", len(cells), want)
	}
	seen, kinds := map[string]bool{}, map[string]bool{}
	for i, c := range cells {
		if seen[c.name()] || !known(c) {
			t.Errorf("%+v comes twice, or is not of the table", c)
		}
		seen[c.name()] = true
		if want := uint64(4 + 2*i/len(cells)); c.Seed != want {
			t.Errorf("cell %d has seed %d, want %d", i, c.Seed, want)
		}
	}
	embedded, err := Choose(Choice{Stacks: []string{stack.Embedded}, Seeds: 1})
	if err != nil {
		t.Fatal(err)
	}
	possible := slices.DeleteFunc(embedded, func(c *Cell) bool { return c.Impossible != "" })
	wanted := slices.DeleteFunc(faults.Table(), func(k faults.Kind) bool {
		return len(k.TargetsOn(stack.Embedded, 1)) == 0
	})
	for i, c := range possible {
		if kinds[c.Fault] {
			break
		}
		if kinds[c.Fault] = true; i+1 == len(wanted) {
			return
		}
	}
	t.Errorf("the first cells have %d of %d kinds", len(kinds), len(wanted))
}

func TestChooseKinds(t *testing.T) {
	t.Parallel()
	cells, err := Choose(Choice{Stacks: []string{stack.Embedded}, Seeds: 1, Kinds: "kill*"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range cells {
		names = append(names, c.Fault)
	}
	slices.Sort(names)
	want := []string{"kill", "kill-during-start"}
	if got := slices.Compact(names); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for kinds, want := range map[string]string{"fire": "no such fault", "[": "syntax error"} {
		_, err := Choose(Choice{Stacks: stack.Started, Seeds: 1, Kinds: kinds})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kinds %s: %v, want %s", kinds, err, want)
		}
	}
}

// soundRun is a run of 30 seconds, with a fault that shows in second 8.
func soundRun() *reports.Run {
	r := &reports.Run{Verdict: reports.Verdict{Status: reports.Pass},
		Deliveries: reports.Deliveries{Counted: true, Events: 900, Again: 3},
		Consistency: reports.Consistency{Checked: true, Rows: 900, Documents: 900,
			Counts: map[reports.RowStatus]int64{reports.OK: 900}},
		Faults: []reports.FaultWindow{{Name: "kill", Target: "consumer", Applied: true,
			StartSeconds: 7.5, EndSeconds: 9.5, RecoveredSeconds: 1.5}}}
	for n := range 30 {
		s := reports.Second{Second: n, Offered: 30, Committed: 30, Visible: 30, P95: 20, P99: 25}
		if n == 8 || n == 9 || n == 10 {
			s.P95, s.P99, s.Outstanding = 2000, 2200, 70
		}
		r.Series = append(r.Series, s)
	}
	return r
}

func mustFind(t *testing.T, name string) faults.Kind {
	t.Helper()
	kind, ok := faults.Find(name)
	if !ok {
		t.Fatalf("no fault %s", name)
	}
	return kind
}

// clock is a clock that a test turns.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// walk is a Walk over the kills of the embedded stack, with a runner that takes a minute.
func walk(t *testing.T, folder string, run Runner) (*Walk, []*Cell) {
	t.Helper()
	m, err := Load(filepath.Join(folder, FileName), 30)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := Choose(Choice{Stacks: []string{stack.Embedded}, FirstSeed: 1, Seeds: 1,
		Kinds: "kill"})
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Unix(0, 0)}
	w := &Walk{Matrix: m, Folder: folder, Now: c.now, Say: func(line string) { t.Log(line) },
		Run: func(ctx context.Context, kind string, seed uint64, path,
			folder string) (*reports.Run, error) {
			c.at = c.at.Add(time.Minute)
			return run(ctx, kind, seed, path, folder)
		}}
	return w, m.Add(chosen)
}

// TestImpossibleIsOfThisMachine: a program missing for a stored cell may be installed now, or gone
// since. A cell with a Result stays.
func TestImpossibleIsOfThisMachine(t *testing.T) {
	t.Parallel()
	cell := func(impossible string) *Cell {
		return &Cell{Stack: stack.Embedded, Fault: "clock-shifted", Target: stack.Postgres, Seed: 1,
			Impossible: impossible}
	}
	const lacking = "no libfaketime"
	for _, c := range []struct{ before, now string }{{lacking, ""}, {"", lacking}} {
		m := &Matrix{Cells: []*Cell{cell(c.before)}}
		if got := m.Add([]*Cell{cell(c.now)})[0].Impossible; got != c.now || len(m.Cells) != 1 {
			t.Errorf("was %q, is %q, got %q of %d cells", c.before, c.now, got, len(m.Cells))
		}
	}
	done := cell("")
	done.Result = &Result{}
	m := &Matrix{Cells: []*Cell{done}}
	if got := m.Add([]*Cell{cell(lacking)})[0]; got.Result == nil || got.Impossible != "" {
		t.Errorf("a cell that was run: %+v", got)
	}
}

// TestDoGoesOn: a Matrix that ran out of time goes on where the Matrix ended, a cell that was
// interrupted is run again in an empty folder, and no cell is run twice.
func TestDoGoesOn(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ran := map[string]int{}
	run := func(_ context.Context, _ string, _ uint64, path, folder string) (*reports.Run, error) {
		if _, err := chaos.Load(path); err != nil {
			t.Error(err)
		}
		rest := filepath.Join(folder, "run.json")
		if _, err := os.Stat(rest); err == nil {
			t.Errorf("%s: the rest of another run is there", folder)
		}
		ran[filepath.Base(folder)]++
		ledger := filepath.Join(folder, "ledger.jsonl")
		return soundRun(), errors.Join(os.WriteFile(rest, nil, 0o600),
			os.WriteFile(ledger, nil, 0o600))
	}
	w, cells := walk(t, folder, run)
	w.Limit = 150 * time.Second
	if err := w.Do(t.Context(), cells); err != nil {
		t.Fatal(err)
	}
	if s := Summarize(cells); s.Pass != 2 || s.Missing != len(cells)-2 ||
		s.Status() != reports.Unknown {
		t.Fatalf("after 150 s: %+v", s)
	}
	ctx, end := context.WithCancel(t.Context())
	w, cells = walk(t, folder, func(ctx context.Context, kind string, seed uint64, path,
		folder string) (*reports.Run, error) {
		end()
		_, err := run(ctx, kind, seed, path, folder)
		return nil, errors.Join(err, ctx.Err())
	})
	if err := w.Do(ctx, cells); err != nil {
		t.Fatal(err)
	}
	w, cells = walk(t, folder, run)
	if s := Summarize(cells); s.Pass != 2 {
		t.Fatalf("after the interruption: %+v", s)
	}
	if err := w.Do(t.Context(), cells); err != nil {
		t.Fatal(err)
	}
	if s := Summarize(cells); s.Missing != 0 || s.Status() != reports.Pass || len(ran) != 5 {
		t.Errorf("at the end: %+v, %v", s, ran)
	}
	for i, c := range cells {
		want := 1
		if i == 2 { // interrupted
			want = 2
		}
		if ran[c.name()] != want {
			t.Errorf("%s was run %d times, want %d", c.name(), ran[c.name()], want)
		}
		_, err := os.Stat(filepath.Join(folder, c.name(), "ledger.jsonl"))
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s keeps the ledger of a pass: %v", c.name(), err)
		}
	}
}

// TestDoEndsOnABrokenStack: three cells in a row without a run end the Walk, and count as not run.
func TestDoEndsOnABrokenStack(t *testing.T) {
	t.Parallel()
	broken := errors.New("no stack\nat all")
	w, cells := walk(t, t.TempDir(), func(context.Context, string, uint64, string,
		string) (*reports.Run, error) {
		return nil, broken
	})
	err := w.Do(t.Context(), cells)
	if err == nil || !strings.Contains(err.Error(), "3 cells in a row") {
		t.Error(err)
	}
	if s := Summarize(cells); s.Missing != len(cells) || s.Status() != reports.Unknown {
		t.Errorf("%+v", s)
	}
	var text bytes.Buffer
	if err := WriteText(&text, w.Matrix, cells); err != nil ||
		!strings.Contains(text.String(), "seed 1 (no stack; at all)") {
		t.Errorf("%v\n%s", err, &text)
	}
}

// TestRows: a Row has the worst of its Results, the sums, and the median.
func TestRows(t *testing.T) {
	t.Parallel()
	var cells []*Cell
	for i, steady := range []float64{4, 12, 2, -1} {
		r := &Result{Status: reports.Pass, DetectSeconds: 1, SteadySeconds: steady,
			WorstP99: 100 * steady, MaxLag: int64(i), Rows: map[reports.RowStatus]int64{
				reports.OK: 9}, Deliveries: reports.Deliveries{Events: 9, Again: 2}}
		switch i {
		case 1:
			r.Status, r.Reasons = reports.Fail, []string{"Rows are lost."}
			r.Rows = map[reports.RowStatus]int64{reports.Lost: 1, reports.Phantom: 2}
		case 3:
			r.Status, r.Reasons = reports.Unknown, []string{"Not applied."}
		}
		cells = append(cells, &Cell{Stack: stack.Embedded, Family: "process", Fault: "kill",
			Target: "consumer", Seed: uint64(i), Result: r})
	}
	cells = append(cells, &Cell{Stack: stack.Embedded, Family: "process", Fault: "pause",
		Target: "connector", Impossible: "no process"})
	want := []Row{
		{Stack: stack.Embedded, Family: "process", Fault: "kill", Target: "consumer", Runs: 4,
			Status: reports.Fail, Reason: "Rows are lost.", Detect: 1, Steady50: 4, SteadyMax: 12,
			Unsteady: 1, WorstP99: 1200, MaxLag: 3, Again: 8, Lost: 1, Wrong: 2},
		{Stack: stack.Embedded, Family: "process", Fault: "pause", Target: "connector",
			Reason: "no process", Detect: -1, Steady50: -1, SteadyMax: -1},
	}
	if diff := cmp.Diff(want, Rows(cells)); diff != "" {
		t.Error(diff)
	}
	s := Summary{Pass: 2, Fail: 1, Unknown: 1, Impossible: 1,
		Slow: []string{"kill of consumer on embedded"}}
	if diff := cmp.Diff(s, Summarize(cells)); diff != "" {
		t.Error(diff)
	}
}

// TestPage: the page names each cell, and its text is text.
func TestPage(t *testing.T) {
	t.Parallel()
	m := &Matrix{Rate: 30, Cells: []*Cell{
		{Stack: stack.Embedded, Family: "process", Fault: "kill", Target: "consumer", Seed: 7,
			Result: &Result{Status: reports.Fail, Reasons: []string{"<script>"}, SteadySeconds: 3,
				Rows: map[reports.RowStatus]int64{reports.Lost: 1}, Commit: "0123456789abcdef"}},
		{Stack: stack.Embedded, Family: "process", Fault: "pause", Target: "connector",
			Impossible: "no process"},
		{Stack: stack.Embedded, Family: "process", Fault: "stop", Target: "mongo", Seed: 7},
	}}
	page, err := m.page()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`href="embedded-kill-consumer-7/report.html"`, "&lt;script&gt;",
		"pause of connector on embedded: no process", "not run: stop of mongo on embedded, seed 7",
		"matrix fail at 30/s: 0 pass, 1 fail", "0123456789ab."} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestNotRun: a few of the untried cells are named, and every failed cell.
func TestNotRun(t *testing.T) {
	t.Parallel()
	var cells []*Cell
	for seed := range uint64(9) {
		cells = append(cells, &Cell{Stack: stack.Embedded, Fault: "kill", Target: "mongo",
			Seed: seed})
	}
	cells[8].Failed = "no port"
	var want []string
	for _, c := range cells[:mostUntried] {
		want = append(want, c.title())
	}
	want = append(want, "kill of mongo on embedded, seed 8 (no port)", "and 3 more")
	got := Summarize(cells).notes(cells)
	if diff := cmp.Diff([]string{"not run: " + strings.Join(want, ", ")}, got); diff != "" {
		t.Error(diff)
	}
}

// TestLoadRefuses: a file that the lab did not write is refused with the place.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const cell = `{"stack": "embedded", "family": "process", "fault": "kill", ` +
		`"target": "consumer", "seed": 1`
	for text, want := range map[string]string{
		`{`:            "byte ",
		`{"rate": 40}`: "has a load of 40/s, and not of 30/s",
		`{"rate": 30, "cells": [{"stack": "../../etc"}]}`: "cells[0]: the table of faults has no",
		`{"rate": 30, "cells": [null]}`:                   "cells[0]: the table of faults has no",
		`{"rate": 30, "cells": [` + cell + `}, ` + cell + `}]}`: "cells[1]: embedded-kill-" +
			"consumer-1 comes twice",
		`{"rate": 30, "cells": [` + cell + `, "result": {"status": "great"}}]}`: "is no verdict",
		`{"rate": 30, "more": 1}`: "unknown field",
	} {
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Load(path, 30)
		if err == nil || m != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
