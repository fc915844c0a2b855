package experiments

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

// Selftest is the scenario that writes to MongoDB directly and waits until the tracker sees each
// write.
const Selftest = ledger.Selftest

const (
	// settling is the time of a self-test at a rate before the count: a poll finds its pace, and
	// connections are made.
	settling = 2 * time.Second
	// counting is the length of the count.
	counting = 5 * time.Second
	// takenShare is the least share of a rate for a server to take. Below takenShare the queue
	// before the server grows, and writes wait longer and longer.
	takenShare = 0.95
)

// Floors are what Floor measured, with notes on the stack.
type Floors struct {
	reports.Floor
	AtRates []FloorAt
	Notes   []string
}

// FloorAt is the floor of writes at a rate, from the time at which each is due: the error of every
// latency measured at the rate. Problem says in words why there is no floor.
type FloorAt struct {
	Rate int
	reports.Floor
	Problem string
}

// Floor brings a stack up only to measure the floor of the stack's measurements: the time from a
// direct write to MongoDB until the tracker has seen the write, for writes one after another and at
// rates.
func Floor(ctx context.Context, config Config) (Floors, error) {
	config.Scenario = Selftest
	e, err := prepare(ctx, config)
	if err != nil {
		return Floors{}, err
	}
	defer e.out.Close()
	if err := e.up(ctx); err != nil {
		return Floors{}, err
	}
	l, all := e.newLoad(), Floors{Notes: e.notes}
	err = l.floor(ctx)
	for _, rate := range config.FloorRates {
		if err == nil {
			all.AtRates = append(all.AtRates, l.floorAt(ctx, rate))
			err = ctx.Err()
		}
	}
	all.Floor = l.run.Floor
	downErr := e.down(ctx)
	if err != nil {
		return all, errors.Join(err, downErr)
	}
	if downErr != nil {
		all.Notes = append(all.Notes, "after the floor: "+oneLine(downErr))
	}
	return all, nil
}

// floor measures the floor of the Run.
func (l *load) floor(ctx context.Context) error {
	l.config.Say("measuring the floor")
	ledgerPath, err := l.selftest(ctx, filepath.Join(l.out.Path, Selftest), l.config.FloorWrites, 0)
	if err != nil {
		return err
	}
	l.run.Floor, err = readFloor(ledgerPath, 0)
	return err
}

// floorAt measures the floor at a rate; a server too slow for the rate is a sentence and no error.
func (l *load) floorAt(ctx context.Context, rate int) FloorAt {
	l.config.Say(fmt.Sprintf("measuring the floor at %d/s", rate))
	dir := filepath.Join(l.out.Path, Selftest, fmt.Sprintf("at-%d", rate))
	ledgerPath, err := l.selftest(ctx, dir, rate*int((settling+counting)/time.Second), rate)
	if err != nil {
		return FloorAt{Rate: rate, Problem: err.Error()}
	}
	return readFloorAt(ledgerPath, rate)
}

func readFloorAt(ledgerPath string, rate int) FloorAt {
	at := FloorAt{Rate: rate}
	floor, err := readFloor(ledgerPath, settling)
	switch {
	case errors.Is(err, ledger.ErrTruncated):
		at.Problem = "a write failed or was never seen, as k6.log says in " +
			filepath.Dir(ledgerPath)
		return at
	case err != nil:
		at.Problem = err.Error()
		return at
	}
	if _, taken, _ := selftestSpan(ledgerPath); taken < takenShare*float64(rate) {
		at.Problem = fmt.Sprintf("the server took only %.0f writes a second: what waits for it "+
			"is no error of the tracker", taken)
		return at
	}
	at.Floor = floor
	return at
}

// selftest runs the selftest scenario, with the load's tracker in a process of the same kind, and
// returns the path of the ledger.
func (l *load) selftest(ctx context.Context, dir string, writes, rate int) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("measure the floor: %w", err)
	}
	env := maps.Clone(l.k6.env)
	env["WRITES"], env["RATE"] = fmt.Sprint(writes), "" // not the load's
	if rate > 0 {
		env["RATE"] = fmt.Sprint(rate)
	}
	child := l.generator(dir, env)
	child.scenario, child.flags = filepath.Join(scenarioFolder(l.root), Selftest+".js"), nil
	if _, err := child.run(ctx); err != nil {
		return "", fmt.Errorf("measure the floor: %w", err)
	}
	return child.ledgerPath(), nil
}

// readFloor leaves out the writes due while the self-test was still settling.
func readFloor(path string, settling time.Duration) (reports.Floor, error) {
	recorder := reports.NewRecorder()
	var unseen int
	firstNs, _, err := selftestSpan(path)
	if err != nil {
		return reports.Floor{}, err
	}
	header, _, err := ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario != Selftest || w.IntendedNs < firstNs+settling.Nanoseconds() {
			return nil
		}
		if w.VisibleNs == 0 {
			unseen++
			return nil
		}
		took := time.Duration(w.VisibleNs - w.IntendedNs)
		recorder.Add(reports.E2E, w.Entity, string(w.Op), 0, took)
		return nil
	})
	if err != nil {
		return reports.Floor{}, fmt.Errorf("measure the floor: %w", err)
	}
	all, ok := (&reports.Run{Stages: recorder.Stages()}).StageOf(reports.E2E, "", "")
	if !ok || unseen > 0 {
		return reports.Floor{}, fmt.Errorf(
			"measure the floor: %d of %d direct writes were never seen",
			unseen, int64(unseen)+all.Count)
	}
	return reports.Floor{
		P50: all.P50, P95: all.P95, P99: all.P99, Writes: all.Count,
		Tracker: header.Tracker, ResolutionMs: float64(header.ResolutionNs) / 1e6,
	}, nil
}

// selftestSpan is when the first direct write was due, and how many a second were acknowledged
// until the last was.
func selftestSpan(path string) (firstNs int64, taken float64, err error) {
	var lastNs, writes int64
	firstNs = math.MaxInt64
	_, _, err = ledger.Read(path, func(w ledger.Write) error {
		if w.Scenario == Selftest {
			firstNs, lastNs = min(firstNs, w.IntendedNs), max(lastNs, w.CommittedNs)
			writes++
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measure the floor: %w", err)
	}
	return firstNs, float64(writes) / (float64(lastNs-firstNs) / 1e9), nil
}

// maxFloorMs is the greatest median floor by tracker; above the limit the tracker's own time would
// be a large part of every measured time.
var maxFloorMs = map[string]float64{"changestream": 1, "poll": 2}

// Status judges the floor by the tracker's limit. A floor at a rate has no limit, because how much
// a server takes is the server's own affair.
func (f *Floors) Status() reports.Status {
	if f.Writes == 0 {
		return reports.Unknown
	}
	if f.P50 > maxFloorMs[f.Tracker] {
		return reports.Fail
	}
	return reports.Pass
}

// WriteText writes the floors for a terminal.
func (f *Floors) WriteText(w io.Writer) error {
	var b bytes.Buffer
	for _, note := range f.Notes {
		fmt.Fprintln(&b, note)
	}
	percentiles := func(f reports.Floor) string {
		return fmt.Sprintf("p50 %.3f ms  p95 %.3f ms  p99 %.3f ms  |  %d direct writes",
			f.P50, f.P95, f.P99, f.Writes)
	}
	fmt.Fprintf(&b, "%s  floor  %s one after another, tracker %s  |  limit p50 %g ms\n",
		strings.ToUpper(string(f.Status())), percentiles(f.Floor), f.Tracker, maxFloorMs[f.Tracker])
	for _, at := range f.AtRates {
		text := at.Problem
		if text == "" {
			text = percentiles(at.Floor) + ", from the time each was due"
		}
		fmt.Fprintf(&b, "      error at %d/s  %s\n", at.Rate, text)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the floors: %w", err)
	}
	return nil
}

// WriteJSON writes the floors for programs, as one line.
func (f *Floors) WriteJSON(w io.Writer) error {
	type at struct {
		Rate int `json:"rate"`
		*reports.Floor
		Problem string `json:"problem,omitempty"`
	}
	all := struct {
		Status     reports.Status `json:"status"`
		LimitP50Ms float64        `json:"limitP50"`
		reports.Floor
		AtRates []at     `json:"atRates"`
		Notes   []string `json:"notes"`
	}{f.Status(), maxFloorMs[f.Tracker], f.Floor, []at{}, f.Notes}
	for _, one := range f.AtRates {
		shown := at{one.Rate, &one.Floor, one.Problem}
		if one.Problem != "" {
			shown.Floor = nil
		}
		all.AtRates = append(all.AtRates, shown)
	}
	if err := json.NewEncoder(w).Encode(all); err != nil {
		return fmt.Errorf("print the floors: %w", err)
	}
	return nil
}
