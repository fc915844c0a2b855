package observe

import (
	"context"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// pulseEvery is the time between two heartbeats.
const pulseEvery = 20 * time.Millisecond

// Pulse is the heartbeat of the lab's own process. A late heartbeat is a stop of the process, by
// Ctrl-Z, SIGSTOP, a suspended machine or the want of a processor, and with the process stop the
// parts of a stack inside.
type Pulse struct {
	seen reports.Lab
	// stoppedAt is the end of the longest stop.
	stoppedAt time.Time
}

// Watch beats until ctx ends, and once more then, because a stop may have come since the last beat.
func (p *Pulse) Watch(ctx context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	last := time.Now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		now := time.Now()
		p.beat(now, now.Sub(last), now.Round(0).Sub(last.Round(0)))
		last = now
	}
}

// beat files a heartbeat so long after the last, by the steady clock and by the wall clock. The
// steady clock of Linux does not count the time of a suspended machine.
func (p *Pulse) beat(now time.Time, steady, wall time.Duration) {
	p.seen.Beats++
	if late := milliseconds(max(steady, wall) - pulseEvery); late > p.seen.LongestStopMs {
		p.seen.LongestStopMs, p.stoppedAt = late, now
	}
	step := milliseconds(wall - steady)
	if max(step, -step) > max(p.seen.ClockStepMs, -p.seen.ClockStepMs) {
		p.seen.ClockStepMs = step
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Lab returns the account of the heartbeats, the longest stop in seconds after start.
func (p *Pulse) Lab(start time.Time) reports.Lab {
	seen := p.seen
	if !p.stoppedAt.IsZero() {
		seen.StoppedAtSecond = p.stoppedAt.Sub(start).Round(time.Millisecond).Seconds()
	}
	return seen
}
