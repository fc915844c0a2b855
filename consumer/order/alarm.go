package order

import (
	"errors"
	"fmt"
	"time"

	"github.com/cdclab/cdclab/consumer/documents"
)

// alarm is an error that asks for the operator, and pauses the partition until then.
type alarm struct{ reason string }

func (a *alarm) Error() string { return a.reason }

// Reason is the label of the metric of retries.
func (a *alarm) Reason() string { return "positions_went_back" }

// AlarmOf returns what an error asks the operator for; "" where the error asks for nothing.
func AlarmOf(err error) string {
	var a *alarm
	if errors.As(err, &a) {
		return a.reason
	}
	return ""
}

// Alarm returns the error about a contradictory event of a collection.
func (e *Event) Alarm(collection string, s documents.Metadata) error {
	return &alarm{fmt.Sprintf("positions went back: an event of %s at offset %d, committed at %s,"+
		" is new and has a lower position than what is stored, committed at %s: PostgreSQL was"+
		" restored or failed over to another timeline; take a new snapshot and go on with a"+
		" higher --epoch", collection, e.Offset, e.SourceAt.UTC().Format(time.RFC3339),
		time.UnixMilli(s.SourceTimestamp).UTC().Format(time.RFC3339))}
}
