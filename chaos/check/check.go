// Package check is the table check: Tables compares every row of PostgreSQL with the row's document
// or item in MongoDB, and the ledger with the rows, once the pipeline has drained. The check
// repairs nothing and knows nothing of faults. Start reading at Tables; comparison judges, and
// needs no server.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/reports"
)

// Config is the input of Tables.
type Config struct {
	PostgresDSN string
	// MongoURI leads to the server itself, never to a Proxy, because a fault on the check is not a
	// fault on the pipeline.
	MongoURI string
	Database string
	Registry *entity.Registry
	// LedgerPath is the generator's ledger; without a ledger no reports.Resurrected and no
	// reports.SourceLoss is found.
	LedgerPath string
	// OnlyLedger compares only the rows in the ledger, where other rows are not the lab's.
	OnlyLedger bool
	// Settle bounds the time for wrong keys to become right; 0 is no time at all.
	Settle time.Duration
	// Examples bounds the examples of each status; reports.MaxExamples bounds all together.
	Examples int64
}

// DefaultConfig is the table check with the built-in entities; the caller sets the endpoints.
func DefaultConfig() Config {
	return Config{
		Database: "cdc", Registry: entity.Default(), Settle: 10 * time.Second,
		Examples: reports.MaxExamples,
	}
}

// settleEvery lies between two reads of the wrong keys.
const settleEvery = 250 * time.Millisecond

// Tables compares every row of every table of the Registry with the row's document or item in
// MongoDB, and the ledger with the rows. The pipeline should have drained. A failed read, a missing
// table, a ledger without an end, and nothing at all to compare are errors: then nothing is known,
// and nothing passed. Rows and Documents of the result count the first read, Counts has every
// status, and Examples are the first of each status but OK, by entity and key.
func Tables(ctx context.Context, c Config) (reports.Consistency, error) {
	result, err := compareTables(ctx, c)
	if err != nil {
		return reports.Consistency{}, fmt.Errorf("check: %w", err)
	}
	return result, nil
}

func compareTables(ctx context.Context, c Config) (result reports.Consistency, err error) {
	fates, err := readFates(c.LedgerPath, c.Registry)
	if err != nil {
		return result, err
	}
	d, err := connect(ctx, c)
	if err != nil {
		return result, err
	}
	defer d.close(context.WithoutCancel(ctx))

	tables, err := d.readAll(ctx, c, fates)
	if err != nil {
		return result, err
	}
	for _, t := range tables {
		result.Rows += int64(len(t.rows))
		result.Documents += t.documents
	}
	if result.Rows == 0 && result.Documents == 0 {
		return result, errors.New("nothing to compare: no rows and no documents")
	}
	first := tables.findings(fates)
	last, err := d.settle(ctx, first, fates, time.Now().Add(c.Settle))
	if err != nil {
		return result, err
	}
	conclude(&result, first, last, c.Examples)
	return result, nil
}

// settle reads wrong keys again until nothing is wrong, or until the deadline, and returns the keys
// still wrong. A key is not read again once right.
func (d *databases) settle(ctx context.Context, wrong []finding, fates *fates,
	until time.Time) ([]finding, error) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for len(wrong) > 0 && time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("settle: %w", context.Cause(ctx))
		case <-tick.C:
		}
		var still []finding
		for some := range slices.Chunk(wrong, 1000) {
			tables, err := d.readAgain(ctx, some)
			if err != nil {
				return nil, fmt.Errorf("settle: %w", err)
			}
			still = append(still, tables.findings(fates)...)
		}
		wrong = still
	}
	return wrong, nil
}

// conclude counts every key once, with at most so many examples of each status: a key wrong at
// first, and not any more, was late.
func conclude(r *reports.Consistency, first, last []finding, most int64) {
	wrong := make(map[id]bool, len(last))
	for _, f := range last {
		wrong[f.id()] = true
	}
	all := slices.Clone(last)
	for _, f := range first {
		if !wrong[f.id()] {
			f.Status, f.Detail = reports.Late, fmt.Sprintf("%s at first", f.Status)
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b finding) int {
		return cmp.Or(cmp.Compare(rank(a.Status), rank(b.Status)),
			cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Key, b.Key))
	})
	r.Checked, r.Counts = true, map[reports.RowStatus]int64{}
	for _, status := range reports.RowStatuses {
		r.Counts[status] = 0
	}
	r.Counts[reports.OK] = r.Rows
	for _, f := range first {
		if f.row {
			r.Counts[reports.OK]--
		}
	}
	for _, f := range all {
		r.Counts[f.Status]++
		if r.Counts[f.Status] <= most && len(r.Examples) < reports.MaxExamples {
			r.Examples = append(r.Examples, f.Example)
		}
	}
}

// rank orders the statuses of examples: the bad statuses first.
func rank(status reports.RowStatus) int {
	at := slices.Index(reports.RowStatuses, status)
	if !status.Bad() {
		return at + len(reports.RowStatuses)
	}
	return at
}
