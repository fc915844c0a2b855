package cdc

import (
	"context"
	"time"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// statusEvery is how often Options.Status is written anew.
const statusEvery = time.Second

// reportStatus writes Options.Status until ctx ends, and once more then. A status that cannot be written is said once: the
// test does not depend on it.
func (l *Lab) reportStatus(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for said := false; ; {
		ended := ctx.Err() != nil
		if err := l.status().Store(l.options.Status); err != nil && !said {
			said = true
			l.logger.Warn(err)
		}
		if ended {
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (l *Lab) status() ledger.Status {
	waiting, executing, _ := l.queue.depth()
	c := l.tracker.snapshot()
	return ledger.Status{
		AtNs: l.now(), Queued: int64(waiting), Executing: int64(executing), Outstanding: c.outstanding,
		Acked: c.acked, Failed: c.failed + c.indeterminate, Visible: c.visible, TimedOut: c.timedOut,
		P95Ns: l.tracker.p95().Nanoseconds(),
	}
}
