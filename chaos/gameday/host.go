package gameday

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// Runner runs the n-th Step of the Day, counted from 1, and returns the run and the folder of the
// run beside the report. A Runner whose ctx ends undoes every fault at once, and may return a
// partial run.
type Runner func(ctx context.Context, n int, s Step) (run *reports.Run, folder string, err error)

// Host holds a Day.
type Host struct {
	Run Runner
	// Lines are the lines typed at the terminal; nil is a Day that nobody attends.
	Lines <-chan string
	// Say tells the people a line.
	Say func(string)
	Now func() time.Time
}

// Record is what happened on a Day.
type Record struct {
	Day          *Day
	Began, Ended time.Time
	Attended     bool
	// Aborted is why the Day ended early, "" for a whole Day.
	Aborted string
	Rounds  []Round
}

// Status is the worst verdict of the Day's runs; without a run for each plan at best unknown.
func (r *Record) Status() reports.Status {
	verdict := reports.Verdict{Status: reports.Pass}
	for i := range r.Rounds {
		one := reports.Verdict{Status: reports.Unknown}
		if run := r.Rounds[i].Run; run != nil {
			one = run.Verdict
		}
		verdict = verdict.Merge(one)
	}
	return verdict.Status
}

// Round is a Step that was held.
type Round struct {
	Step
	Began, Ended time.Time
	// Votes is nil where nobody voted.
	Votes *Vote
	// Run is nil for a plan that was not run, with the reason in Failed.
	Run    *reports.Run
	Folder string
	Failed string
	Notes  []Note
}

// Note is an observation of a person.
type Note struct {
	At   time.Time
	Text string
}

// errAborted is the end of a Day by the abort key.
var errAborted = errors.New("somebody typed the abort key")

// AbortKey followed by Enter ends the Day, and every fault, at once.
const AbortKey = "a"

// holding is a Day while the Day is held.
type holding struct {
	*Host
	abort context.CancelCauseFunc
}

// Hold goes through the Day. Hold always returns the Record, also of a Day that ctx or the abort
// key ended; then every fault is undone.
func (h *Host) Hold(ctx context.Context, d *Day) *Record {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	r := &Record{Day: d, Began: h.Now(), Attended: h.Lines != nil}
	one := &holding{h, abort}
	one.open(d)
	for i, s := range d.Plans {
		round := Round{Step: s, Began: h.Now()}
		if ctx.Err() == nil {
			one.round(ctx, i+1, len(d.Plans), &round)
		} else {
			round.Failed = "the day was ended before"
		}
		round.Ended = h.Now()
		r.Rounds = append(r.Rounds, round)
	}
	if ctx.Err() != nil {
		r.Aborted = context.Cause(ctx).Error()
	}
	r.Ended = h.Now()
	return r
}

// open reads out the beginning.
func (h *holding) open(d *Day) {
	h.Say(fmt.Sprintf("game day %s on the %s stack, %d plans", d.Name, d.Stack, len(d.Plans)))
	if d.Description != "" {
		h.Say(d.Description)
	}
	for _, rail := range d.GuardRails {
		h.Say("guard rail: " + rail)
	}
	if h.Lines != nil {
		h.Say(fmt.Sprintf("%s and Enter, or Ctrl-C, undoes every fault at once and ends the day; "+
			"any other line is noted with the time", AbortKey))
	}
}

// round tells, asks, waits and runs.
func (h *holding) round(ctx context.Context, n, of int, r *Round) {
	h.Say(fmt.Sprintf("plan %d of %d: %s", n, of, r.Plan))
	h.Say("narration: " + r.Narration)
	h.Say("blast radius: " + r.BlastRadius)
	h.Say("hypothesis: " + r.Hypothesis)
	r.Votes = h.vote(ctx, r)
	if r.Votes != nil {
		h.Say(fmt.Sprintf("votes: %d expect that the hypothesis holds, %d do not", r.Votes.Yes,
			r.Votes.No))
	}
	h.pause(ctx, r)
	if ctx.Err() != nil {
		r.Failed = "the day was ended before the plan began"
		return
	}
	h.Say("begin of " + r.Plan)
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		r.Run, r.Folder, err = h.Run(ctx, n, r.Step)
	}()
	notes := h.until(done, nil, func(string) bool { return false })
	r.Notes = append(r.Notes, notes...)
	switch {
	case err != nil:
		r.Failed = strings.ReplaceAll(err.Error(), "\n", "; ")
		h.Say(r.Plan + ": " + r.Failed)
	case r.Run != nil:
		h.Say(fmt.Sprintf("%s: the hypothesis %s", r.Plan, outcome(r)))
	}
}

// vote counts the votes of the file, or else of the terminal.
func (h *holding) vote(ctx context.Context, r *Round) *Vote {
	if r.Vote != nil {
		return r.Vote
	}
	if h.Lines == nil {
		return nil
	}
	h.Say("vote: y or n and Enter, a line for each person; an empty line ends the vote")
	v := &Vote{}
	r.Notes = append(r.Notes, h.until(ctx.Done(), nil, func(line string) bool {
		switch word, _, _ := strings.Cut(strings.ToLower(line), " "); word {
		case "y", "yes":
			v.Yes++
		case "n", "no":
			v.No++
		case "":
			return true
		}
		return false
	})...)
	if v.Yes+v.No == 0 {
		return nil
	}
	return v
}

// pause waits for Enter, and no longer than the Pause.
func (h *holding) pause(ctx context.Context, r *Round) {
	var over <-chan time.Time
	switch {
	case r.Pause > 0:
		timer := time.NewTimer(r.Pause)
		defer timer.Stop()
		over = timer.C
		h.Say(fmt.Sprintf("pause of %v", r.Pause))
	case h.Lines == nil:
		return
	}
	if h.Lines != nil {
		h.Say("Enter begins the plan")
	}
	r.Notes = append(r.Notes, h.until(ctx.Done(), over, func(line string) bool {
		return line == ""
	})...)
}

// until takes typed lines until done is closed, over comes, or a line is the last, and returns the
// lines that are neither empty nor keys as observations. The abort key, or a closed terminal,
// aborts the Day; until then still waits for done, because faults are being undone.
func (h *holding) until(done <-chan struct{}, over <-chan time.Time,
	last func(string) bool) (notes []Note) {
	for {
		select {
		case <-done:
			return notes
		case <-over:
			return notes
		case line, open := <-h.Lines:
			line = strings.TrimSpace(line)
			switch {
			case !open:
				h.Lines = nil
				h.abort(errors.New("the terminal was closed"))
			case strings.EqualFold(line, AbortKey):
				h.Say("aborting: every fault is undone")
				h.abort(errAborted)
			case last(line):
				return notes
			case line != "":
				notes = append(notes, Note{h.Now(), line})
			}
		}
	}
}

// outcome says in words what the run says about the hypothesis.
func outcome(r *Round) string {
	switch {
	case r.Run == nil:
		return "was not tested"
	case r.Run.Verdict.Status == reports.Pass:
		return "held"
	case r.Run.Verdict.Status == reports.Fail:
		return "was disproved"
	}
	return "was not decided"
}
