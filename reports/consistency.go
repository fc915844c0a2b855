package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/unit"
)

// RowStatus is the finding of the table check for a key after the drain: for a row, or for a
// document without a row.
type RowStatus string

// The statuses of a key. All but OK and Late are bad.
const (
	OK RowStatus = "ok"
	// Late was wrong at first, and right while the check waited.
	Late RowStatus = "late"
	// Lost is a row without a live document or item.
	Lost RowStatus = "lost"
	// Stale is a document or item with an older version of the row.
	Stale RowStatus = "stale"
	// Phantom is a live document or item without a row, and no delete of the row is known.
	Phantom RowStatus = "phantom"
	// Resurrected is a live document or item whose row is gone by a known delete.
	Resurrected RowStatus = "resurrected"
	// Corrupt is the version of the row with other content, a version not yet in the row, or
	// content that cannot be read as the field's kind.
	Corrupt RowStatus = "corrupt"
	// WrongParent differs in a reference at the version of the row, or is an item alive in another
	// order than the row's, be it in both.
	WrongParent RowStatus = "wrong-parent"
	// SourceLoss is an acknowledged write missing from PostgreSQL itself: nothing can be said of
	// the pipeline for the key, and no other status of the key counts.
	SourceLoss RowStatus = "source-loss"
	// Pending is a difference that may go away, because the pipeline had not drained.
	Pending RowStatus = "pending"
)

// noReason stands where a reason is wanted and none was kept.
const noReason = "no reason was recorded"

// RowStatuses are all statuses, in the order of every table.
var RowStatuses = []RowStatus{
	OK, Late, Pending, Lost, Stale, Phantom, Resurrected, Corrupt, WrongParent, SourceLoss,
}

// onTheWay are the differences that a change still on its way makes.
var onTheWay = []RowStatus{Lost, Stale, Phantom, Resurrected, WrongParent}

// Bad is true if the status is a defect.
func (s RowStatus) Bad() bool { return s != OK && s != Late && s != Pending }

// MaxExamples bounds Consistency.Examples.
const MaxExamples = 20

// Consistency is the comparison of every row of PostgreSQL with its document.
type Consistency struct {
	// Checked: the check ran to its end. Error is why the check did not.
	Checked bool   `json:"checked"`
	Error   string `json:"error"`
	// Undrained is what the pipeline had still to do when the check began, "" for nothing.
	Undrained string `json:"undrained,omitempty"`
	Rows      int64  `json:"rows"`
	Documents int64  `json:"documents"`
	// Counts is the number of keys by status; a key counts once.
	Counts map[RowStatus]int64 `json:"counts"`
	// Examples are at most 20 rows or documents that are not ok.
	Examples []Example `json:"examples"`
}

// Example is a row or document that is not ok.
type Example struct {
	Status RowStatus `json:"status"`
	Entity string    `json:"entity"`
	Key    string    `json:"key"`
	Detail string    `json:"detail"`
	// Fields are the members with a difference.
	Fields []string `json:"fields,omitempty"`
}

// Count is the number of keys with a status.
func (c *Consistency) Count(status RowStatus) int64 { return c.Counts[status] }

// NotDrained says that the pipeline had not drained before the check, and what was still to do.
// Each difference made by changes on their way becomes Pending.
func (c *Consistency) NotDrained(rest string) {
	c.Undrained = rest
	for _, status := range onTheWay {
		if n := c.Counts[status]; n > 0 {
			c.Counts[Pending] += n
			c.Counts[status] = 0
		}
	}
	for i := range c.Examples {
		if e := &c.Examples[i]; slices.Contains(onTheWay, e.Status) {
			e.Status, e.Detail = Pending, fmt.Sprintf("%s so far: %s", e.Status, e.Detail)
		}
	}
}

// Status is Unknown without a finished check of at least one row or document, Fail with anything
// lost, stale, phantom, resurrected, corrupt or under the wrong parent, else Unknown where the
// pipeline had not drained or PostgreSQL itself lost a write, else Pass.
func (c *Consistency) Status() Status {
	return c.verdict().Status
}

func (c *Consistency) verdict() Verdict {
	if !c.Checked {
		return unknown("The rows were not compared with the documents: %s.",
			cmp.Or(c.Error, noReason))
	}
	verdict, compared := Verdict{Status: Pass}, int64(0)
	if n := c.Counts[Pending]; c.Undrained != "" || n > 0 {
		verdict = unknown("The pipeline had not drained when the rows were compared, and %s, "+
			"perhaps on the way: %s.", unit.Plural(n, "row or document was different",
			"rows or documents were different"), cmp.Or(c.Undrained, noReason))
	}
	for _, status := range RowStatuses {
		n := c.Counts[status]
		compared += n
		switch {
		case n == 0 || !status.Bad():
		case status == SourceLoss:
			verdict = verdict.Merge(unknown("PostgreSQL itself lost %s.",
				unit.Plural(n, "acknowledged write", "acknowledged writes")))
		default:
			verdict = verdict.Merge(fail("%s %s.", unit.Plural(n, "row or document is",
				"rows or documents are"), StatusInWords(status)))
		}
	}
	if compared == 0 {
		return unknown("The check compared 0 rows and documents, which proves nothing.")
	}
	return verdict
}

// Sentence is the result on one line.
func (c *Consistency) Sentence() string {
	if !c.Checked {
		return "consistency unknown: not checked: " + cmp.Or(c.Error, noReason)
	}
	parts := make([]string, 0, len(RowStatuses))
	for _, status := range RowStatuses {
		if n := c.Counts[status]; n > 0 || slices.Contains([]RowStatus{OK, Lost, Stale}, status) {
			parts = append(parts, fmt.Sprintf("%s %d", status, n))
		}
	}
	return fmt.Sprintf("consistency %s: %d rows, %d documents: %s",
		c.Status(), c.Rows, c.Documents, strings.Join(parts, ", "))
}

// Letters is the comparison of the records that nobody can read with the dead letters.
type Letters struct {
	// Unreadable is the number of such records, Missing of those without a dead letter.
	Unreadable int64 `json:"unreadable"`
	Missing    int64 `json:"missing"`
	// Example is the place of a record without a dead letter.
	Example string `json:"example,omitempty"`
}

// lettersVerdict is Fail with a record that went away without a dead letter. A pipeline that had
// not drained may still write the letter.
func (r *Run) lettersVerdict() Verdict {
	verdict, l := Verdict{Status: Pass}, &r.Letters
	if l.Missing == 0 {
		return verdict
	}
	say := fail
	if r.Consistency.Undrained != "" {
		say = unknown
	}
	return say("%s no dead letter%s.", unit.Plural(l.Missing, "unreadable record has",
		"unreadable records have"), because(l.Example))
}

// verdict is fail for a document that went back: an older event was applied after a newer.
func (t *Tracker) verdict() Verdict {
	if t.WentBack == 0 {
		return Verdict{Status: Pass}
	}
	return fail("Under the load %s to an older state%s.", unit.Plural(t.WentBack,
		"document went back", "documents went back"), because(t.FirstBack))
}

// StatusInWords says what a status means, as the end of a sentence.
func StatusInWords(status RowStatus) string {
	switch status {
	case Lost:
		return "lost: committed in PostgreSQL and absent from MongoDB"
	case Stale:
		return "stale: MongoDB holds an older version"
	case Phantom:
		return "phantom: in MongoDB, and never committed in PostgreSQL"
	case Resurrected:
		return "resurrected: deleted in PostgreSQL and back in MongoDB"
	case Corrupt:
		return "corrupt: the right version with other content"
	case WrongParent:
		return "under the wrong parent"
	case Late:
		return "late: wrong at first, and right while the check waited"
	case Pending:
		return "pending: different while the pipeline had not drained, and perhaps on the way"
	case SourceLoss:
		return "lost by PostgreSQL itself, which had acknowledged the write"
	}
	return string(status)
}
