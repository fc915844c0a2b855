package entity

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// The rules, and what follows where one is broken unless the Spec says otherwise.
const (
	RuleRequired   = "required"   // reject: a required column is absent or null
	RuleKind       = "kind"       // reject: a value that its kind cannot be read from
	RuleEnum       = "enum"       // reject: a value that is none of the list
	RuleFormat     = "format"     // reject: no email address, no UUID
	RuleRange      = "range"      // reject: below the least or above the greatest value
	RuleTransition = "transition" // warn: a value that may not follow the one before it
	RuleClockSkew  = "clock_skew" // warn: the source's clock is ahead of Kafka's
	RuleTimeDrift  = "time_drift" // warn: recorded long after the commit
	RuleNotAfter   = "not_after"  // warn: a time too far in the future
	RuleNotBefore  = "not_before" // warn: a time that is new in the row, and too long ago
	RuleDrift      = "drift"      // warn: the column's type changed and the value does not fit any more
	RuleName       = "name"       // warn: a column whose name MongoDB does not take
	// RuleOutOfOrder: an event behind one that is earlier in its partition, as a connector sends after a
	// crash. Such events are only counted, unless the Spec says warn or reject.
	RuleOutOfOrder = "out_of_order"
)

var severities = map[string]Severity{
	RuleRequired: Reject, RuleKind: Reject, RuleEnum: Reject, RuleFormat: Reject, RuleRange: Reject,
	RuleTransition: Warn, RuleClockSkew: Warn, RuleTimeDrift: Warn, RuleNotAfter: Warn,
	RuleNotBefore: Warn, RuleDrift: Warn, RuleName: Warn, RuleOutOfOrder: Info,
}

// Violation is a rule that a row breaks.
type Violation struct {
	// Rule is one of the Rule constants.
	Rule string
	// Field is the column; "" where the rule is about the event.
	Field string
	// Value is the column's value, shortened; empty where it is absent, null or secret.
	Value string
	// Severity is Reject or Warn.
	Severity Severity
	// Reason is for a person; it does not show the value.
	Reason string
}

func (v Violation) Error() string {
	if v.Field == "" {
		return fmt.Sprintf("%s: the event %s", v.Rule, v.Reason)
	}
	return fmt.Sprintf("%s: column %s %s", v.Rule, v.Field, v.Reason)
}

// rules are a Field's, ready to be applied.
type rules struct {
	enum     map[string]bool
	format   Format
	min, max *bound
	next     map[string][]string // transitions
	states   map[string]string   // the values they name, so that they need not be copied

	notAfter, notBefore int64 // microseconds
}

// bound is a least or greatest value.
type bound struct {
	high, low uint64
	whole     bool // n is the value
	n         int64
}

func newBound(text string) *bound {
	if text == "" {
		return nil
	}
	b := new(bound)
	b.high, b.low, _ = parseDecimal([]byte(text))
	b.n, b.whole = parseInt([]byte(text))
	return b
}

func newRules(f *Field) *rules {
	r := &rules{format: f.Format, min: newBound(f.Min), max: newBound(f.Max), next: f.Transitions,
		notAfter: f.NotAfter.Microseconds(), notBefore: f.NotBefore.Microseconds()}
	if len(f.Enum) > 0 {
		r.enum = map[string]bool{}
		for _, value := range f.Enum {
			r.enum[value] = true
		}
	}
	if len(f.Transitions) > 0 {
		r.states = map[string]string{}
		for from, targets := range f.Transitions {
			r.states[from] = from
			for _, to := range targets {
				r.states[to] = to
			}
		}
	}
	if r.enum == nil && r.format == "" && r.min == nil && r.max == nil && r.next == nil && r.notAfter|r.notBefore == 0 {
		return nil
	}
	return r
}

// judge says which rules a value breaks, and why. commit is when the row was written, microseconds
// since 1970; fresh says that the value was written then, too.
func (r *rules) judge(w *writer, s *scalar, commit int64, fresh bool, broken func(rule, reason string)) {
	if r.enum != nil && !r.enum[string(w.textOf(s))] {
		broken(RuleEnum, "is none of the values it may have")
	}
	switch r.format {
	case Email:
		if s.is == isText && !isEmail(s.text) {
			broken(RuleFormat, "is no email address")
		}
	case FormatUUID:
		if s.is == isText && !isUUID(s.text) {
			broken(RuleFormat, "is no UUID")
		}
	}
	if r.min != nil && !r.min.atMost(w, s) {
		broken(RuleRange, "is below its minimum")
	}
	if r.max != nil && !r.max.atLeast(w, s) {
		broken(RuleRange, "is above its maximum")
	}
	if r.notAfter|r.notBefore == 0 || commit <= 0 {
		return
	}
	at, finite := s.micros()
	if r.notAfter > 0 && finite && at > commit+r.notAfter {
		broken(RuleNotAfter, "is in the future of its commit")
	}
	if r.notBefore > 0 && fresh && finite && at < commit-r.notBefore {
		broken(RuleNotBefore, "is long before its commit")
	}
}

// micros is a time in microseconds since 1970; of a year that no date can hold, the least or the
// greatest. Infinity is none.
func (s *scalar) micros() (at int64, finite bool) {
	switch {
	case s.is == isInstant:
		return s.at.seconds*1e6 + s.at.nanos/1e3, true
	case s.is != isFarTime || string(s.text) == infinityText || string(s.text) == minusInfinityText:
		return 0, false
	case s.text[0] == '+':
		return math.MaxInt64, true
	}
	return math.MinInt64, true
}

// atMost: the bound is not above the value. What has no order, NaN, is out of any range.
func (b *bound) atMost(w *writer, s *scalar) bool {
	order, ordered := b.compare(w, s)
	return ordered && order <= 0
}

func (b *bound) atLeast(w *writer, s *scalar) bool {
	order, ordered := b.compare(w, s)
	return ordered && order >= 0
}

// compare is the bound's order relative to the value.
func (b *bound) compare(w *writer, s *scalar) (order int, ordered bool) {
	switch s.is {
	case isInt64:
		if b.whole {
			switch {
			case b.n < s.n:
				return -1, true
			case b.n > s.n:
				return 1, true
			}
			return 0, true
		}
	case isDecimal:
		return compareDecimals(b.high, b.low, s.high, s.low)
	case isLong:
		// Beyond 34 digits the sign decides: bounds are shorter.
		if s.text[0] == '-' {
			return 1, true
		}
		return -1, true
	case isDouble:
	default:
		return 0, true
	}
	high, low, _ := parseDecimal(w.textOf(s))
	return compareDecimals(b.high, b.low, high, low)
}

// isEmail: something, an @, and a name of a host. What mail servers take is wider than any
// expression; this finds what cannot be an address.
func isEmail(text []byte) bool {
	at := bytes.LastIndexByte(text, '@')
	if at < 1 || at == len(text)-1 || len(text) > 320 {
		return false
	}
	local, host := text[:at], text[at+1:]
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	quoted := len(local) > 2 && local[0] == '"' && local[len(local)-1] == '"'
	if !quoted && (bytes.ContainsAny(local, " @,;:<>()[]\\\"") || local[0] == '.' ||
		local[len(local)-1] == '.' || bytes.Contains(local, []byte(".."))) {
		return false
	}
	if host[0] == '[' && host[len(host)-1] == ']' {
		return len(host) > 2
	}
	return !bytes.ContainsAny(host, " @,;:<>()[]\\\"_!#$%&'*/=?^`{|}~") && host[0] != '.' &&
		host[0] != '-' && host[len(host)-1] != '.' && host[len(host)-1] != '-' &&
		!bytes.Contains(host, []byte(".."))
}

// legal: to may follow from. A value may always stay. A value that the transitions do not know is
// for the enum to judge; one that they name only as a target is a last one.
func (r *rules) legal(from, to string) bool {
	if _, known := r.states[from]; !known || from == to {
		return true
	}
	for _, target := range r.next[from] {
		if target == to {
			return true
		}
	}
	return false
}

// OutOfOrder is the violation of an event behind one that is earlier in its partition; nil where the
// Spec leaves it at counting.
func (t *Table) OutOfOrder() *Violation {
	severity := t.severity[RuleOutOfOrder]
	if severity == Info {
		return nil
	}
	return &Violation{Rule: RuleOutOfOrder, Severity: severity, Reason: "comes after a later one of its partition"}
}

// judgeTimes compares the source's time with that of the record in Kafka, never with a clock: a
// replay years later breaks nothing.
func (e *Encoder) judgeTimes(event *debezium.Event, facts Facts) {
	if facts.NoRules || facts.Recorded.IsZero() || event.Source.TsUs == 0 {
		return
	}
	spec := e.table.spec
	ahead := event.Source.TsUs - facts.Recorded.UnixMicro()
	if spec.Skew > 0 && ahead > spec.Skew.Microseconds() {
		e.breakRule(RuleClockSkew, nil, "has a source time ahead of its Kafka timestamp")
	}
	if spec.Late > 0 && event.Op != debezium.Read && -ahead > spec.Late.Microseconds() {
		e.breakRule(RuleTimeDrift, nil, "was recorded in Kafka long after its commit")
	}
}

const shownBytes = 60

// shorten cuts a value for a person to read.
func shorten(text string) string {
	cut := shownBytes
	if len(text) <= cut {
		return text
	}
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}
