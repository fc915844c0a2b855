package encode

import (
	"bytes"
	"math"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// rules of a Field, ready to be applied.
type rules struct {
	enum     map[string]bool
	format   entity.Format
	min, max *bound
	next     map[string][]string // transitions
	states   map[string]string   // the values of next, so that none need be copied

	notAfter, notBefore int64 // microseconds
}

// bound is a least or greatest value.
type bound struct {
	decimal value.Decimal
	whole   bool // n is the value
	n       int64
}

func newBound(text string) *bound {
	if text == "" {
		return nil
	}
	b := new(bound)
	b.decimal, _ = value.ParseDecimal([]byte(text))
	b.n, b.whole = value.ParseInt([]byte(text))
	return b
}

func newRules(f *entity.Field) *rules {
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
	if r.enum == nil && r.format == "" && r.min == nil && r.max == nil && r.next == nil &&
		r.notAfter|r.notBefore == 0 {
		return nil
	}
	return r
}

// judge says which rules a value breaks, and why. commit is the time of the row's commit,
// microseconds since 1970; fresh is true if the value was new at the commit.
func (r *rules) judge(w *writer, s *scalar, commit int64, fresh bool,
	broken func(rule, reason string)) {
	if r.enum != nil && !r.enum[string(w.textOf(s))] {
		broken(entity.RuleEnum, "is none of the values it may have")
	}
	switch r.format {
	case entity.Email:
		if s.is == isText && !isEmail(s.text) {
			broken(entity.RuleFormat, "is no email address")
		}
	case entity.FormatUUID:
		if s.is == isText && !value.IsUUID(s.text) {
			broken(entity.RuleFormat, "is no UUID")
		}
	}
	if r.min != nil && !r.min.atMost(w, s) {
		broken(entity.RuleRange, "is below its minimum")
	}
	if r.max != nil && !r.max.atLeast(w, s) {
		broken(entity.RuleRange, "is above its maximum")
	}
	if r.notAfter|r.notBefore == 0 || commit <= 0 {
		return
	}
	at, finite := s.microseconds()
	if r.notAfter > 0 && finite && at > commit+r.notAfter {
		broken(entity.RuleNotAfter, "is in the future of its commit")
	}
	if r.notBefore > 0 && fresh && finite && at < commit-r.notBefore {
		broken(entity.RuleNotBefore, "is long before its commit")
	}
}

// microseconds returns a time in microseconds since 1970; of a year outside 1 to 9999, the least or
// the greatest. Infinity is not finite.
func (s *scalar) microseconds() (at int64, finite bool) {
	switch {
	case s.is == isInstant:
		return s.at.Micros(), true
	case s.is != isFarTime, string(s.text) == value.InfinityText,
		string(s.text) == value.MinusInfinityText:
		return 0, false
	case s.text[0] == '+':
		return math.MaxInt64, true
	}
	return math.MinInt64, true
}

// atMost is true if the bound is not above the value. NaN has no order, so NaN is out of any range.
func (b *bound) atMost(w *writer, s *scalar) bool {
	order, ordered := b.compare(w, s)
	return ordered && order <= 0
}

func (b *bound) atLeast(w *writer, s *scalar) bool {
	order, ordered := b.compare(w, s)
	return ordered && order >= 0
}

// compare returns the bound's order relative to the value.
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
		return b.decimal.Compare(s.decimal)
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
	d, _ := value.ParseDecimal(w.textOf(s))
	return b.decimal.Compare(d)
}

// isEmail is true if the text is something, an @, and a name of a host. Mail servers take more than
// any expression; isEmail only finds texts that cannot be an address.
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

// allowsTransition is true if to may follow from. A value may always stay. The enum judges a value
// unknown to the transitions; a value named only as a target is a last value.
func (r *rules) allowsTransition(from, to string) bool {
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

// OutOfOrder returns the violation of an event behind an earlier event of its partition; nil where
// the Spec only counts such events.
func (t *Table) OutOfOrder() *entity.Violation {
	severity := t.severity[entity.RuleOutOfOrder]
	if severity == entity.Info {
		return nil
	}
	return &entity.Violation{Rule: entity.RuleOutOfOrder, Severity: severity,
		Reason: "comes after a later one of its partition"}
}

// judgeTimes compares the source's time with the record's time in Kafka, never with a clock, so
// that a replay years later breaks nothing.
func (e *Encoder) judgeTimes(event *debezium.Event, facts Facts) {
	if facts.NoRules || facts.Recorded.IsZero() || event.Source.TsUs == 0 {
		return
	}
	spec := e.table.spec
	ahead := event.Source.TsUs - facts.Recorded.UnixMicro()
	if spec.Skew > 0 && ahead > spec.Skew.Microseconds() {
		e.breakRule(entity.RuleClockSkew, nil, "has a source time ahead of its Kafka timestamp")
	}
	if spec.Late > 0 && event.Op != debezium.Read && -ahead > spec.Late.Microseconds() {
		e.breakRule(entity.RuleTimeDrift, nil, "was recorded in Kafka long after its commit")
	}
}
