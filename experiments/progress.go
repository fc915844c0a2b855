package experiments

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// progressEvery is how often a log gets a line of progress; a terminal has it in place, once a second.
const progressEvery = 10 * time.Second

// progress shows how far a load is, from what the generator says of itself once a second.
type progress struct {
	to io.Writer
	// inPlace: to is a terminal, whose line is written over; width is how many characters it has.
	inPlace bool
	width   func() int
	// JSON has one object a line instead of text.
	json bool
	// status is the generator's file, total how long the load takes.
	status string
	total  time.Duration
	// lag is the consumer's, -1 while it is not known.
	lag func() float64

	// began is when the generator was seen to have begun the load.
	began, shown time.Time
	before       ledger.Status
}

// newProgress shows nothing where to is nil.
func newProgress(to io.Writer, asJSON bool, status string, total time.Duration, lag func() float64) *progress {
	p := &progress{to: to, json: asJSON, status: status, total: total, lag: lag, width: func() int { return 80 }}
	if file, ok := to.(*os.File); ok && !asJSON && term.IsTerminal(int(file.Fd())) {
		p.inPlace = true
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

// watch shows progress until ctx ends.
func (p *progress) watch(ctx context.Context) {
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
			p.look(now)
		}
	}
}

// look shows the status of this moment, in a log only now and then.
func (p *progress) look(now time.Time) {
	s, err := ledger.ReadStatus(p.status)
	if err != nil {
		return // it has not begun
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

// step is one line of progress.
type step struct {
	ElapsedSeconds float64 `json:"elapsedSeconds"`
	TotalSeconds   float64 `json:"totalSeconds"`
	// Rate is in commits per second since the last step; Lag is -1 while it is not known, P95Ms 0 while
	// nothing was seen.
	Rate     float64 `json:"rate"`
	InFlight int64   `json:"inFlight"`
	Lag      float64 `json:"lag"`
	P95Ms    float64 `json:"p95Ms"`
	Failed   int64   `json:"failed"`
}

func (p *progress) step(s ledger.Status, now time.Time) step {
	one := step{
		ElapsedSeconds: now.Sub(p.began).Seconds(), TotalSeconds: p.total.Seconds(),
		InFlight: s.Queued + s.Executing + s.Outstanding, Lag: p.lag(), P95Ms: float64(s.P95Ns) / 1e6, Failed: s.Failed,
	}
	if seconds := float64(s.AtNs-p.before.AtNs) / 1e9; seconds > 0 && s.Acked >= p.before.Acked {
		one.Rate = float64(s.Acked-p.before.Acked) / seconds
	}
	return one
}

// String is "1m20s of 5m5s, 100/s, 3 in flight, lag 12, p95 4.2 ms so far, 3m45s to go".
func (s step) String() string {
	seconds := func(v float64) time.Duration { return time.Duration(v * float64(time.Second)).Round(time.Second) }
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
	text := fmt.Sprintf("%v of %v, %.0f/s, %d in flight, lag %s, p95 %s so far, %s", seconds(s.ElapsedSeconds),
		seconds(s.TotalSeconds), s.Rate, s.InFlight, lag, p95, left)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	return text
}
