package entity

import "fmt"

// The rules, and the consequence of a broken rule unless the Spec says otherwise.
const (
	RuleRequired   = "required"   // reject: a required column is absent or null
	RuleKind       = "kind"       // reject: a value that cannot be read as its kind
	RuleEnum       = "enum"       // reject: a value outside the list
	RuleFormat     = "format"     // reject: no email address, no UUID
	RuleRange      = "range"      // reject: below the least or above the greatest value
	RuleTransition = "transition" // warn: a value that may not follow the value before
	RuleClockSkew  = "clock_skew" // warn: the source's clock is ahead of Kafka's
	RuleTimeDrift  = "time_drift" // warn: recorded long after the commit
	RuleNotAfter   = "not_after"  // warn: a time too far in the future
	RuleNotBefore  = "not_before" // warn: a time new in the row, and too long ago
	RuleDrift      = "drift"      // warn: a value not fitting the column's old type
	RuleName       = "name"       // warn: a column whose name MongoDB does not take
	// RuleOutOfOrder: an event behind an earlier event of its partition, sent so by a connector
	// after a crash. Such events are only counted, unless the Spec says warn or reject.
	RuleOutOfOrder = "out_of_order"
)

var severities = map[string]Severity{
	RuleRequired: Reject, RuleKind: Reject, RuleEnum: Reject, RuleFormat: Reject, RuleRange: Reject,
	RuleTransition: Warn, RuleClockSkew: Warn, RuleTimeDrift: Warn, RuleNotAfter: Warn,
	RuleNotBefore: Warn, RuleDrift: Warn, RuleName: Warn, RuleOutOfOrder: Info,
}

// Violation is a rule that a row breaks.
type Violation struct {
	// Rule is a Rule constant.
	Rule string
	// Field is the column; "" where the rule is about the event.
	Field string
	// Value is the column's value, shortened; empty if absent, null or secret.
	Value string
	// Severity is Reject or Warn.
	Severity Severity
	// Reason is for a person, and does not show the value.
	Reason string
}

func (v Violation) Error() string {
	if v.Field == "" {
		return fmt.Sprintf("%s: the event %s", v.Rule, v.Reason)
	}
	return fmt.Sprintf("%s: column %s %s", v.Rule, v.Field, v.Reason)
}
