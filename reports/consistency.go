package reports

import (
	"fmt"
	"slices"
	"strings"
)

// The fates of a row and its document in the check after the drain.
const (
	OK          = "ok"
	Late        = "late"
	Lost        = "lost"
	Stale       = "stale"
	Phantom     = "phantom"
	Resurrected = "resurrected"
	Corrupt     = "corrupt"
	WrongParent = "wrong-parent"
)

// maxExamples bounds Consistency.Examples.
const maxExamples = 20

// violations are the statuses of which a single one fails a Run; statuses are all of them.
var (
	violations = []string{Lost, Stale, Phantom, Resurrected, Corrupt, WrongParent}
	statuses   = append([]string{OK, Late}, violations...)
)

// Consistency is the comparison of every row of PostgreSQL with its document.
type Consistency struct {
	// Checked: the check ran to its end. Error is why it did not.
	Checked   bool   `json:"checked"`
	Error     string `json:"error"`
	Rows      int64  `json:"rows"`
	Documents int64  `json:"documents"`
	// Counts is the number of rows and documents by status.
	Counts map[string]int64 `json:"counts"`
	// Examples are at most 20 that are not ok.
	Examples []Example `json:"examples"`
}

// Example is one row or document that is not ok.
type Example struct {
	Status string `json:"status"`
	Entity string `json:"entity"`
	Key    string `json:"key"`
	Detail string `json:"detail"`
}

// Status is Unknown without a finished check of at least one row or document, Fail with anything
// lost, stale, phantom, resurrected, corrupt or under the wrong parent, else Pass.
func (c *Consistency) Status() Status {
	return c.verdict().Status
}

func (c *Consistency) verdict() Verdict {
	if !c.Checked {
		return unknown("The rows were not compared with the documents: %s.", orNone(c.Error))
	}
	verdict, compared := Verdict{Status: Pass}, c.Counts[OK]+c.Counts[Late]
	for _, status := range violations {
		if n := c.Counts[status]; n > 0 {
			compared += n
			verdict = verdict.Merge(fail("%s %s.", plural(n, "row or document is",
				"rows or documents are"), inWords(status)))
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
		return "consistency unknown: not checked: " + orNone(c.Error)
	}
	parts := make([]string, 0, len(statuses))
	for _, status := range statuses {
		if n := c.Counts[status]; n > 0 || slices.Contains([]string{OK, Lost, Stale}, status) {
			parts = append(parts, fmt.Sprintf("%s %d", status, n))
		}
	}
	return fmt.Sprintf("consistency %s: %d rows, %d documents: %s",
		c.Status(), c.Rows, c.Documents, strings.Join(parts, ", "))
}

// inWords says what a status means, as the end of a sentence.
func inWords(status string) string {
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
		return "late: right, and only after the tracker had given up"
	}
	return status
}

func orNone(reason string) string {
	if reason == "" {
		return "no reason was recorded"
	}
	return reason
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
