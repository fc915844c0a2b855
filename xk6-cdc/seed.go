package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// seed inserts Options.SeedRows rows, parents first, and waits until MongoDB shows the rows,
// because updates, deletes and children need rows from the first second, and a dead pipeline is
// better found now. The caller holds mu.
func (g *Generator) seed(ctx context.Context) error {
	sizes := tables.SeedSizes(g.options.SeedRows, g.options.Entities)
	total := 0
	for e, size := range sizes {
		size = g.stripe.Share(size)
		for range size {
			now := g.now()
			if err := g.enqueue(request{
				scenario: ledger.Seed, intendedNs: now, enqueuedNs: now,
				Part: tables.Part{Table: tables.Table(e), Op: ledger.Insert},
			}); err != nil {
				return err
			}
		}
		total += size
		g.await(ctx, time.Hour, func() bool {
			waiting, taken, _ := g.queue.depth()
			return waiting+taken == 0
		})
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("seed rows: %w", err)
		}
		if failure := g.seedError(); failure != "" {
			return errors.New("seed rows: " + failure)
		}
	}
	seen := g.await(ctx, time.Duration(g.options.Timeout), func() bool {
		return g.tracker.Counts().Outstanding == 0
	})
	switch counts := g.tracker.Counts(); {
	case seen:
	case ctx.Err() != nil:
		return fmt.Errorf("wait for the seed rows: %w", ctx.Err())
	case counts.Visible == 0:
		return fmt.Errorf("none of the %d seed rows that PostgreSQL has came to MongoDB "+
			"(database %q) within %s: is the pipeline up? (option %q)",
			total, g.options.Database, g.options.Timeout, "timeout")
	default:
		g.logger.Warnf("cdc: %d of the %d seed rows did not come to MongoDB within %s",
			counts.Outstanding, total, g.options.Timeout)
	}
	return nil
}

func (g *Generator) seedError() string {
	g.seedMu.Lock()
	defer g.seedMu.Unlock()
	return g.seedFailure
}
