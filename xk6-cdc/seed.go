package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// seedScenario is the Scenario of the rows that start() makes.
const seedScenario = "seed"

// seed inserts Options.SeedRows rows, parents first, and waits until they were seen: updates,
// deletes and children need rows from the first second, and a pipeline that is down is better
// found now. The caller holds mu.
func (l *Lab) seed(ctx context.Context) error {
	sizes := seedSizes(l.options.SeedRows, l.options.Entities)
	total := 0
	for e, size := range sizes {
		size = l.stripe.share(size)
		for range size {
			now := l.now()
			if err := l.enqueue(request{
				scenario: seedScenario, intendedNs: now, enqueuedNs: now, part: part{entity: entity(e), op: ledger.Insert},
			}); err != nil {
				return err
			}
		}
		total += size
		l.await(ctx, time.Hour, func() bool {
			waiting, taken, _ := l.queue.depth()
			return waiting+taken == 0
		})
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("seed rows: %w", err)
		}
		if failure := l.seedError(); failure != "" {
			return errors.New("seed rows: " + failure)
		}
	}
	seen := l.await(ctx, time.Duration(l.options.Timeout), func() bool {
		return l.tracker.snapshot().outstanding == 0
	})
	switch counts := l.tracker.snapshot(); {
	case seen:
	case ctx.Err() != nil:
		return fmt.Errorf("wait for the seed rows: %w", ctx.Err())
	case counts.visible == 0:
		return fmt.Errorf("none of the %d seed rows that PostgreSQL has came to MongoDB (database %q) within %s: "+
			"is the pipeline up? (option %q)", total, l.options.Database, l.options.Timeout, "timeout")
	default:
		l.logger.Warnf("cdc: %d of the %d seed rows did not come to MongoDB within %s",
			counts.outstanding, total, l.options.Timeout)
	}
	return nil
}

func (l *Lab) seedError() string {
	l.seedMu.Lock()
	defer l.seedMu.Unlock()
	return l.seedFailure
}

// seedSizes shares total out by the entities' weights, with at least one row of every entity that
// rows will refer to.
func seedSizes(total int, entities Entities) [entityCount]int {
	weights := [entityCount]int{entities.Customer, entities.Address, entities.Order, entities.OrderItem}
	var sizes [entityCount]int
	if total == 0 {
		return sizes
	}
	for e := entityCount - 1; e >= 0; e-- {
		if weights[e] > 0 {
			sizes[e] = max(sizes[e], (total*weights[e]+entities.sum()-1)/entities.sum())
		}
		if parent, ok := e.parent(); ok && sizes[e] > 0 {
			sizes[parent] = max(sizes[parent], 1)
		}
	}
	return sizes
}
