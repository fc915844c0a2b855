package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cdclab/cdclab/consumer/entity"
)

// Status is what the table check finds of one row, or of one document without a row.
type Status string

// The statuses of the table check. All but OK and Late are bad; SourceLoss says that PostgreSQL
// itself does not hold what it acknowledged, so that nothing can be said of the pipeline for that
// key and its other statuses are not counted.
const (
	OK    Status = "ok"
	Late  Status = "late" // wrong at the first look, right within Settle
	Lost  Status = "lost" // a row, and no live document or item
	Stale Status = "stale"
	// Corrupt: the version of the row and other content, a version that the row does not have yet,
	// or content that cannot be read as the field's kind.
	Corrupt Status = "corrupt"
	// WrongParent: a reference differs at the same version, or an item is alive in another order
	// than its row's, be it in both.
	WrongParent Status = "wrong-parent"
	// Phantom: a live document or item without a row, and no delete of it is known.
	Phantom Status = "phantom"
	// Resurrected: a live document or item whose row is gone by a delete in the ledger.
	Resurrected Status = "resurrected"
	SourceLoss  Status = "source-loss"
)

// Statuses lists them all, the bad ones first and worst first.
var Statuses = []Status{
	Lost, Resurrected, Corrupt, WrongParent, Stale, Phantom, SourceLoss, Late, OK,
}

// Bad says whether the status is a defect.
func (s Status) Bad() bool { return s != OK && s != Late }

// CheckConfig says what Check compares.
type CheckConfig struct {
	PostgresDSN string
	// MongoURI is that of the server itself, never of a Proxy: a fault on the check is not one on
	// the pipeline.
	MongoURI string
	Database string
	Registry *entity.Registry
	// LedgerPath is the generator's ledger; without it no Resurrected and no SourceLoss is found.
	LedgerPath string
	// OnlyLedger compares the rows that the ledger names, where others are not the lab's.
	OnlyLedger bool
	// Settle is how long what is wrong at the first look may take to become right; 0 is not at all.
	Settle time.Duration
	// Examples bounds Consistency.Examples for each bad Status and for Late.
	Examples int
}

// DefaultCheckConfig is the table check with the built-in entities; the endpoints are to be set.
func DefaultCheckConfig() CheckConfig {
	return CheckConfig{
		Database: "cdc", Registry: entity.Default(), Settle: 10 * time.Second, Examples: 20,
	}
}

// Consistency is the result of the table check.
type Consistency struct {
	// Rows of PostgreSQL, and live documents and items of MongoDB, at the first look.
	Rows, Documents int
	// Counts has every Status. A key counts once: a row, or a document without one.
	Counts map[Status]int
	// Examples are the first of each Status but OK, in the order of Statuses, then by key.
	Examples []Example
	// LedgerWrites is how many writes of the ledger were compared with PostgreSQL.
	LedgerWrites int
	// LateWrites were acknowledged by PostgreSQL, not seen in MongoDB within the tracker's
	// timeout, and are there (or superseded) in the end.
	LateWrites int
	// Settled is how long the check waited for what was wrong at the first look.
	Settled time.Duration
}

// Example is one key that is not OK.
type Example struct {
	Entity, Key string
	Status      Status
	// Fields are the members that differ.
	Fields []string
	// Detail says it in words.
	Detail string
}

// Bad is the number of keys with a bad Status.
func (c *Consistency) Bad() int {
	bad := 0
	for status, n := range c.Counts {
		if status.Bad() {
			bad += n
		}
	}
	return bad
}

// settleEvery is how often what is wrong is looked at again.
const settleEvery = 250 * time.Millisecond

// Check compares every row of every table of the Registry with its document or item in MongoDB, and
// the ledger with the rows. It is meant for a pipeline that has drained. A read that fails, a table
// that is missing, a ledger without its end, and nothing at all to compare are errors: then nothing
// is known, and nothing passed.
func Check(ctx context.Context, c CheckConfig) (Consistency, error) {
	fates, err := readFates(c.LedgerPath, c.Registry)
	if err != nil {
		return Consistency{}, fmt.Errorf("check: %w", err)
	}
	l, err := openLook(ctx, c)
	if err != nil {
		return Consistency{}, fmt.Errorf("check: %w", err)
	}
	defer l.close(context.WithoutCancel(ctx))

	tables, err := l.first(ctx, c, fates)
	if err != nil {
		return Consistency{}, fmt.Errorf("check: %w", err)
	}
	result := Consistency{Counts: map[Status]int{}, LedgerWrites: fates.writes}
	for _, t := range tables {
		result.Rows += len(t.rows)
		result.Documents += t.documents
	}
	if result.Rows == 0 && result.Documents == 0 {
		return Consistency{}, errors.New("check: nothing to compare: no rows and no documents")
	}
	first := tables.findings(fates)
	looked := time.Now()
	last, err := l.settle(ctx, first, fates, looked.Add(c.Settle))
	if err != nil {
		return Consistency{}, fmt.Errorf("check: %w", err)
	}
	if len(first) > 0 {
		result.Settled = time.Since(looked)
	}
	result.conclude(first, last, fates, c.Examples)
	return result, nil
}

// settle looks again at what is wrong until nothing is, or until the deadline, and returns what
// still is. A key that was right once is not looked at again.
func (l *look) settle(ctx context.Context, wrong []finding, fates *fates,
	until time.Time) ([]finding, error) {
	for len(wrong) > 0 && time.Now().Before(until) {
		if err := sleep(ctx, settleEvery); err != nil {
			return nil, fmt.Errorf("settle: %w", err)
		}
		var still []finding
		for some := range slices.Chunk(wrong, 1000) {
			tables, err := l.again(ctx, some)
			if err != nil {
				return nil, fmt.Errorf("settle: %w", err)
			}
			still = append(still, tables.findings(fates)...)
		}
		wrong = still
	}
	return wrong, nil
}

// conclude counts: what was found first and is not wrong any more was late.
func (c *Consistency) conclude(first, last []finding, fates *fates, most int) {
	wrong := make(map[id]bool, len(last))
	for _, f := range last {
		wrong[f.id()] = true
	}
	all := slices.Clone(last)
	for _, f := range first {
		if !wrong[f.id()] {
			f.Status, f.Detail = Late, fmt.Sprintf("%s at the first look", f.Status)
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b finding) int {
		return cmp.Or(cmp.Compare(slices.Index(Statuses, a.Status), slices.Index(Statuses, b.Status)),
			cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Key, b.Key))
	})
	for _, status := range Statuses {
		c.Counts[status] = 0
	}
	c.Counts[OK] = c.Rows
	for _, f := range first {
		if f.row {
			c.Counts[OK]--
		}
	}
	for _, f := range all {
		if c.Counts[f.Status]++; c.Counts[f.Status] <= most {
			c.Examples = append(c.Examples, f.Example)
		}
	}
	c.LateWrites = fates.late(wrong)
}
