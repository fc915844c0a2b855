// Package fate decides what an error means for a record: Reject, Later or Stop. Fate makes no
// errors of servers, because each room that talks to a server marks the errors known to the room.
// Start reading at Of.
package fate

import (
	"cmp"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Fate is the meaning of an error for the record, or for the process.
type Fate int

// The fates of an error.
const (
	Reject Fate = iota // the record can never be written: a dead letter, alone
	Later              // nothing is wrong with the record: back off and try again
	Stop               // going on is pointless: end the process
)

// Of decides for every error, and no other place does. An unknown error is Later, because a
// partition that waits is seen and loses nothing.
func Of(err error) Fate {
	var rejected *Rejection
	var halt *Halt
	switch {
	case errors.As(err, &halt):
		return Stop
	case errors.As(err, &rejected):
		return Reject
	default:
		return Later
	}
}

// Rejection is a permanent error of one record. Rule is a constant below or a rule of the entity's
// spec, and labels metrics. Reason has a line for each fault.
type Rejection struct{ Rule, Reason string }

func (r *Rejection) Error() string { return r.Rule + ": " + r.Reason }

// The rules a record can break besides the rules of the entity's spec.
const (
	RuleUndecodable = "undecodable" // not a Debezium envelope
	RuleKey         = "key"         // no usable primary key
	RuleParent      = "parent"      // an embedded row without a document to live in
	RuleIncomplete  = "incomplete"  // a new place in MongoDB, and a value was left out as unchanged
	RuleReference   = "reference"   // the row referred to did not come in time
	RuleDocument    = "document"    // refused by MongoDB: too large, schema, ...
	RuleUnique      = "unique"      // a unique index other than _id
	RuleTopic       = "topic"       // the topic is of another table
	RuleTables      = "tables"      // one table too many without a spec
	RuleNamespace   = "namespace"   // a collection that MongoDB cannot have
	RuleSource      = "source"      // another source has the table's documents
	RuleUnknown     = "unknown"     // not rejected: a value left out as unchanged is not stored
	RuleHistory     = "history"     // not rejected: an update made a row that was not there before
)

// Both returns a single rejection for two reasons, under the rule of the first. Each may be nil.
func Both(first, second error) error {
	if first == nil || second == nil {
		return cmp.Or(first, second)
	}
	var one, other *Rejection
	if !errors.As(first, &one) || !errors.As(second, &other) {
		return first
	}
	return &Rejection{one.Rule, one.Reason + "\n" + other.Reason}
}

// Rejectf returns a Rejection by a rule, with the reason in Printf's format.
func Rejectf(rule, format string, args ...any) error {
	return &Rejection{rule, fmt.Sprintf(format, args...)}
}

// Halt wraps an error that trying again cannot cure.
type Halt struct{ Err error }

func (h *Halt) Error() string { return h.Err.Error() }

func (h *Halt) Unwrap() error { return h.Err }

// ReasonOf names an error for the label of a metric, in few values: a Reason of the error's own,
// else the kind of MongoDB's error.
func ReasonOf(err error) string {
	var named interface{ Reason() string }
	var concern mongo.WriteConcernError
	switch {
	case errors.As(err, &named):
		return named.Reason()
	case errors.As(err, &concern):
		return "write_concern"
	case mongo.IsTimeout(err):
		return "timeout"
	case mongo.IsNetworkError(err):
		return "network"
	default:
		return "server"
	}
}
