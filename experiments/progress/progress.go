// Package progress shows on a terminal, in a log or as JSON lines how far a load is. The package
// reads the generator's own status, asks nobody and measures nothing. Start reading at New and
// Watch.
package progress

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/shown"
)

// progressEvery is how often a log gets a line of progress; a terminal shows progress in place,
// once a second.
const progressEvery = 10 * time.Second

// Progress shows how far a load is, from the status written by the generator once a second.
type Progress struct {
	to io.Writer
	// inPlace is true if to is a terminal with a line to write over; width returns the terminal's
	// number of characters.
	inPlace bool
	width   func() int
	// json is true if progress is an object a line instead of text.
	json bool
	// Status is the path of the generator's file, Total the length of the load.
	Status string
	Total  time.Duration
	// Lag returns the consumer's lag in records, -1 while not known.
	Lag func() float64

	// began is when the generator was seen to have begun the load.
	began, shown time.Time
	before       ledger.Status
}

// New returns a Progress without Status, Total and Lag, which shows nothing where to is nil.
func New(to io.Writer, asJSON bool) *Progress {
	p := &Progress{to: to, json: asJSON, width: func() int { return 80 }}
	file := terminalOf(to)
	if file != nil && !asJSON {
		// A step is made of numbers alone, and moves the cursor itself.
		p.to, p.inPlace = file, true
		p.width = func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil || width < 1 {
				return 80
			}
			return width
		}
	}
	return p
}

// terminalOf returns the terminal behind to, nil where to ends elsewhere.
func terminalOf(to io.Writer) *os.File {
	if escaping, ok := to.(*shown.Writer); ok {
		to = escaping.To
	}
	if file, ok := to.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return file
	}
	return nil
}

// Watch shows progress until ctx ends.
func (p *Progress) Watch(ctx context.Context) {
	if p.to == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.inPlace {
				fmt.Fprint(p.to, "\r\x1b[K")
			}
			return
		case now := <-tick.C:
			p.tick(now)
		}
	}
}

// tick shows the status of this moment, in a log only now and then.
func (p *Progress) tick(now time.Time) {
	s, err := ledger.ReadStatus(p.Status)
	if err != nil {
		return // the load has not begun
	}
	if p.before.AtNs == 0 { // the load has just begun, and there is no rate yet
		p.before, p.began, p.shown = s, now, now
		return
	}
	if !p.inPlace && now.Sub(p.shown) < progressEvery {
		return
	}
	step := p.step(s, now)
	p.shown, p.before = now, s
	switch {
	case p.json:
		text, err := json.Marshal(step)
		if err == nil {
			fmt.Fprintf(p.to, "%s\n", text)
		}
	case p.inPlace:
		text := step.String()
		fmt.Fprintf(p.to, "\r\x1b[K%s", text[:min(len(text), p.width()-1)])
	default:
		fmt.Fprintf(p.to, "load: %s\n", step)
	}
}

// step is a line of progress.
type step struct {
	ElapsedSeconds float64 `json:"elapsedSeconds"`
	TotalSeconds   float64 `json:"totalSeconds"`
	// Rate is in commits per second since the last step; Lag is -1 while not known, P95Ms 0 while
	// nothing was seen.
	Rate     float64 `json:"rate"`
	InFlight int64   `json:"inFlight"`
	Lag      float64 `json:"lag"`
	P95Ms    float64 `json:"p95Ms"`
	Failed   int64   `json:"failed"`
}

func (p *Progress) step(s ledger.Status, now time.Time) step {
	one := step{
		ElapsedSeconds: now.Sub(p.began).Seconds(), TotalSeconds: p.Total.Seconds(),
		InFlight: s.Queued + s.Executing + s.Outstanding, Lag: p.Lag(),
		P95Ms: float64(s.P95Ns) / 1e6, Failed: s.Failed,
	}
	if seconds := float64(s.AtNs-p.before.AtNs) / 1e9; seconds > 0 && s.Acked >= p.before.Acked {
		one.Rate = float64(s.Acked-p.before.Acked) / seconds
	}
	return one
}

// String is "1m20s of 5m5s, 100/s, 3 in flight, lag 12, p95 4.2 ms so far, 3m45s to go".
func (s step) String() string {
	seconds := func(v float64) time.Duration {
		return time.Duration(v * float64(time.Second)).Round(time.Second)
	}
	lag, p95 := "?", "?"
	if s.Lag >= 0 {
		lag = fmt.Sprintf("%.0f", s.Lag)
	}
	if s.P95Ms > 0 {
		p95 = fmt.Sprintf("%.1f ms", s.P95Ms)
	}
	left := "draining"
	if s.TotalSeconds > s.ElapsedSeconds {
		left = fmt.Sprintf("%v to go", seconds(s.TotalSeconds-s.ElapsedSeconds))
	}
	text := fmt.Sprintf("%v of %v, %.0f/s, %d in flight, lag %s, p95 %s so far, %s",
		seconds(s.ElapsedSeconds),
		seconds(s.TotalSeconds), s.Rate, s.InFlight, lag, p95, left)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	return text
}
