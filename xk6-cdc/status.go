package cdc

import (
	"context"
	"time"

	"github.com/cdclab/cdclab/ledger"
)

// statusEvery lies between two writes of Options.Status.
const statusEvery = time.Second

// reportStatus writes Options.Status until ctx ends, and once more then, and flushes the ledger, so
// that a killed k6 leaves all but the last second. A failure to write is logged only once, because
// the test does not depend on the status; the ledger's own failures are told when the ledger ends.
func (g *Generator) reportStatus(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for said := false; ; {
		ended := ctx.Err() != nil
		if g.ledger != nil {
			_ = g.ledger.Flush() // kept by the Writer
		}
		if err := g.status().Store(g.options.Status); err != nil && !said {
			said = true
			g.logger.Warn(err)
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

func (g *Generator) status() ledger.Status {
	waiting, executing, _ := g.queue.depth()
	c := g.tracker.Counts()
	return ledger.Status{
		AtNs: g.now(), Queued: int64(waiting), Executing: int64(executing),
		Outstanding: c.Outstanding, Acked: c.Acked, Failed: c.Failed + c.Indeterminate,
		Visible: c.Visible, TimedOut: c.TimedOut, P95Ns: g.tracker.P95().Nanoseconds(),
	}
}
