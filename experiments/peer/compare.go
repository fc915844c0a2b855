package peer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cdclab/cdclab/reports"
)

// Statuses returns the statuses of a sink's keys in the order of the table: here Stale is an older
// version of the row, Corrupt a version the row never had, Resurrected a document without a row.
func Statuses() []reports.RowStatus {
	return []reports.RowStatus{
		reports.OK, reports.Stale, reports.Lost, reports.Resurrected, reports.Corrupt,
	}
}

// Case holds what became of the keys of a case in a sink.
type Case struct {
	Name string `json:"name"`
	Sink string `json:"sink"`
	// Keys by status.
	Keys map[reports.RowStatus]int `json:"keys"`
	// Example is a key that is not ok, "" if all keys are.
	Example string `json:"example,omitempty"`
}

// OK returns true if all keys of the case are ok.
func (c *Case) OK() bool { return len(c.Keys) == 1 && c.Keys[reports.OK] > 0 }

// rowTexts is a row, or a document without its key and the sink's own members: texts by column. A
// null or missing member is left out.
type rowTexts map[string]string

func (r rowTexts) version() int64 {
	n, err := strconv.ParseInt(r["version"], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// judge compares a row with the row's document; nil is none.
func judge(row, document rowTexts) (status reports.RowStatus, why string) {
	switch {
	case row == nil && document == nil:
		return reports.OK, ""
	case row == nil:
		return reports.Resurrected,
			"there is no such row, but a document of version " + document["version"]
	case document == nil:
		return reports.Lost, "there is a row of version " + row["version"] + " and no document"
	case document.version() >= 0 && document.version() < row.version():
		return reports.Stale, fmt.Sprintf("version %s of %s", document["version"], row["version"])
	}
	columns := slices.Sorted(maps.Keys(row))
	for column := range document {
		if _, is := row[column]; !is {
			columns = append(columns, column)
		}
	}
	for _, column := range columns {
		if got, want := document[column], row[column]; got != want {
			return reports.Corrupt,
				fmt.Sprintf("%s is %s, in the row %s", column, inShort(got), inShort(want))
		}
	}
	return reports.OK, ""
}

// inShort is a text for an example.
func inShort(text string) string {
	const most = 40
	if n := utf8.RuneCountInString(text); n > most {
		return fmt.Sprintf("%q... (%d characters)", string([]rune(text)[:8]), n)
	}
	return strconv.Quote(text)
}

// judgeCases judges every key of the history, and every key found, and counts the keys by case.
func judgeCases(sink string, rows, documents map[int64]rowTexts) []Case {
	byName := map[string]*Case{}
	for _, name := range caseNames {
		byName[name] = &Case{Name: name, Sink: sink, Keys: map[reports.RowStatus]int{}}
	}
	keys := map[int64]bool{}
	for _, name := range caseNames {
		for _, key := range caseKeys(name) {
			keys[key] = true
			if name == caseKey || name == caseKeyToast {
				keys[key+caseNewOffset] = true
			}
		}
	}
	for _, found := range []map[int64]rowTexts{rows, documents} {
		for key := range found {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		c := byName[caseOf(key)]
		if c == nil {
			c = byName[caseUpdated] // a key that nobody wrote: it has a document and no row
		}
		status, why := judge(rows[key], documents[key])
		c.Keys[status]++
		if status != reports.OK && c.Example == "" {
			c.Example = fmt.Sprintf("key %d: %s", key, why)
		}
	}
	var all []Case
	for _, name := range caseNames {
		all = append(all, *byName[name])
	}
	return all
}

// compareHistory judges both sinks by the rows.
func (p *comparison) compareHistory(ctx context.Context, stores []*store) error {
	rows, err := readRows(ctx, p.stack.Endpoints().PostgresDSN)
	if err != nil {
		return err
	}
	for _, store := range stores {
		documents, err := store.all(ctx)
		if err != nil {
			return err
		}
		cases := judgeCases(store.sink, rows, documents)
		p.result.History.Cases = append(p.result.History.Cases, cases...)
	}
	return nil
}
