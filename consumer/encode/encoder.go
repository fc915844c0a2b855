package encode

import (
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// Encoder makes BSON elements of events, and applies every rule in the same pass. Each partition
// has its own Encoder, because an Encoder reuses memory and is not safe for concurrent use. The
// zero value is ready.
type Encoder struct {
	writer
	table *Table
	shape *plan
	names uint64 // keptNames.changes at the shape's making

	out     Encoded
	noRules bool
	commit  int64
	fault   error // a *KeyError of a reference

	// texts holds the strings of the Encoded until makeStrings makes a single string of them.
	texts              []byte
	id, parent, before span
	refs               []span
	states             []stateSpans
}

// span is a part of texts.
type span struct{ from, to int }

func (s span) of(text string) string { return text[s.from:s.to] }

type stateSpans struct{ value, before span }

// Facts are known of an event besides its record's content.
type Facts struct {
	// Recorded is the Kafka timestamp of the record; zero where there is none.
	Recorded time.Time
	// NoRules: nothing is judged, and a value not fitting its Field is stored by its own type.
	NoRules bool
	// Size is the length of the record's key and value in bytes, the measure of the document's; 0
	// where the length is not known.
	Size int
}

// Encoded is an event in the form to store. Its slices are valid until the Encoder's next Encode;
// its strings stay.
type Encoded struct {
	// ID is the text of the key: the document's _id, or the map key of an embedded row. Several key
	// columns are a JSON array of texts.
	ID string
	// Parent is the _id of the document an embedded row lives in, from after, or of a delete from
	// before; Before is the _id according to before. Both are "" where the event does not tell.
	Parent, Before string
	// Elements are the members as BSON elements, in the row's order, without the document's length
	// and end. A delete has none.
	Elements []byte
	// Absent are members to be removed: exact texts that a timestamp does not need any more.
	Absent []string
	// Missing are members left out because Debezium had no value for them.
	Missing []string
	// Drifted are values of an update not fitting the type that their column had before.
	Drifted []Drifted
	// References are the foreign keys that are not null, except an embedded row's key of its
	// document.
	References []Ref
	// States are the values of the members whose transitions are ruled.
	States []State
	// Violations are of the rules decided by the event alone.
	Violations []entity.Violation
	// Changes are differences of the table's columns, seen for the first time.
	Changes []SchemaChange
	// Names is NamesVersion of the members' names.
	Names uint64
}

// Ref is a row named by the event's row: the document ID of Collection.
type Ref struct {
	Collection, ID, Column string
	// Missing and Grace say how to treat the row while the document is not there.
	Missing entity.Missing
	Grace   time.Duration
}

// State is a value whose transitions are ruled.
type State struct {
	Member, Value string
	// Before is the member's value before the event, if BeforeKnown.
	Before      string
	BeforeKnown bool
}

// Encode converts and judges a single event that changes a row. The error is a *KeyError (the row
// has no usable key) or a *SizeError.
func (e *Encoder) Encode(t *Table, event *debezium.Event, facts Facts) (*Encoded, error) {
	if e.table != t {
		e.table, e.shape = t, nil
	}
	o := &e.out
	if cap(o.Elements)+cap(e.texts)+cap(e.text)+cap(e.scratch)+
		changeBytes*cap(o.Changes) > keptMax {
		o.Elements, e.texts, e.text, e.scratch, o.Changes = nil, nil, nil, nil, nil
	}
	o.Elements, o.Absent, o.Missing = o.Elements[:0], o.Absent[:0], o.Missing[:0]
	o.References, o.States, o.Violations = o.References[:0], o.States[:0], o.Violations[:0]
	o.Changes, o.Drifted, o.Names = o.Changes[:0], nil, e.table.NamesVersion()
	e.texts, e.refs, e.states = e.texts[:0], e.refs[:0], e.states[:0]
	e.budget = budgetOf(facts.Size)
	e.fault = nil
	e.noRules, e.commit = facts.NoRules, event.Source.TsUs
	if err := e.identifyRow(event); err != nil {
		return nil, err
	}
	e.judgeTimes(event, facts)
	if event.After != nil && event.Op != debezium.Delete {
		e.encodeColumns(event)
	}
	if e.spent {
		return nil, &SizeError{e.limit}
	}
	if e.fault != nil {
		return nil, e.fault
	}
	e.makeStrings()
	return o, nil
}

// identifyRow reads the keys of the row, and of the documents it lives and lived in.
func (e *Encoder) identifyRow(event *debezium.Event) (err error) {
	e.id.from = len(e.texts)
	key := event.Key
	if column := e.table.spec.Key; column != "" && len(key) > 0 && key.Get(column) == nil {
		// The message's key may have other columns than the table's key.
		for _, row := range []debezium.Row{event.After, event.Before} {
			if cell := row.Get(column); cell != nil {
				key = debezium.Row{*cell}
				break
			}
		}
	}
	if e.texts, err = e.table.appendKey(&e.writer, e.texts, key, event.After); err != nil {
		return err
	}
	e.id.to = len(e.texts)
	e.parent, e.before = span{}, span{}
	if embed := e.table.spec.Embed; embed != nil {
		// A column that was not sent has a default, which would name another document.
		if cell := event.Before.Get(embed.Parent); cell != nil && !isFallback(cell) {
			e.before = e.readDocumentKey(event.Before, embed.Parent)
		}
		if e.parent = e.readDocumentKey(event.After, embed.Parent); event.Op == debezium.Delete {
			e.parent = e.before
		}
	}
	return e.fault
}

// readDocumentKey reads the key of the document a row is embedded in. A delete under the default
// replica identity has an empty text or a zero there.
func (e *Encoder) readDocumentKey(row debezium.Row, column string) span {
	cell := row.Get(column)
	if cell == nil || cell.Value.Kind() == debezium.Null {
		return span{}
	}
	from := len(e.texts)
	e.texts = e.appendKeyText(e.texts, e.table.formOfKey(column, cell.Type), cell.Type, cell.Value)
	if text := e.texts[from:]; len(text) == 1 && text[0] == '0' {
		e.texts = e.texts[:from]
	}
	return e.referenceSince(from, column)
}

// referenceSince returns the text that names another row, and notes the fault of a text too long
// for a key.
func (e *Encoder) referenceSince(from int, column string) span {
	if len(e.texts)-from > keyMaxBytes && e.fault == nil {
		e.fault = e.table.longKey(e.texts[from:], column)
	}
	return span{from, len(e.texts)}
}

// makeStrings makes the strings, all at once.
func (e *Encoder) makeStrings() {
	text, o := string(e.texts), &e.out
	o.ID, o.Parent, o.Before = e.id.of(text), e.parent.of(text), e.before.of(text)
	for i, s := range e.refs {
		o.References[i].ID = s.of(text)
	}
	for i, s := range e.states {
		state := &o.States[i]
		if state.Value == "" {
			state.Value = s.value.of(text)
		}
		if state.BeforeKnown && state.Before == "" {
			state.Before = s.before.of(text)
		}
	}
}

func (e *Encoder) encodeColumns(event *debezium.Event) {
	row := event.After
	keyed := e.table.spec.Key == "" && len(event.Key) == 1 && event.Key[0].Name == "id"
	if now := e.table.NamesVersion(); now != e.names {
		e.shape, e.names = nil, now
	}
	e.out.Names = e.names
	if e.shape == nil || !e.shape.fits(row, keyed) {
		e.shape, e.out.Changes = e.table.findOrMakePlan(row, keyed, event.Source.TsUs,
			e.out.Changes)
	}
	for i := range e.shape.columns {
		e.encodeCell(&e.shape.columns[i], row[i].Value, event)
		if e.isSpent(e.out.Elements) {
			return
		}
	}
	for _, f := range e.shape.absent {
		e.breakRule(entity.RuleRequired, f, "is absent")
	}
}

func (e *Encoder) encodeCell(c *column, v debezium.Value, event *debezium.Event) {
	o := &e.out
	kind := v.Kind()
	switch {
	case c.nameless:
		e.reportViolation(entity.RuleName, c, "", "has no name, or a NUL in its name")
		return
	case kind == debezium.Null:
		if c.key {
			return
		}
		if o.Elements = appendNull(o.Elements, c.member); c.exact != "" {
			o.Absent = append(o.Absent, c.exact)
		}
		if c.field != nil && c.field.Required {
			e.breakRule(entity.RuleRequired, c.field, "is null")
		}
		return
	case kind >= debezium.String && !c.key && v.UnavailableAs(c.t):
		o.Missing = append(o.Missing, c.member)
		return
	}
	var s scalar
	read := e.readCell(c, v, &s)
	start := len(o.Elements)
	stored := read && e.storeScalar(c, &s)
	if c.key {
		o.Elements = o.Elements[:start]
	}
	if !stored {
		if e.spent {
			return
		}
		o.Elements = o.Elements[:start]
		e.handleMisfit(c, v, event.Op)
		return
	}
	if f := c.field; f != nil && s.is < isArray {
		if f.rules != nil && !e.noRules {
			broken := func(rule, reason string) {
				e.reportViolation(rule, c, e.shown(c, v), reason)
			}
			f.rules.judge(&e.writer, &s, e.commit, c.isNewValue(v, event), broken)
		}
		if f.rules != nil && f.rules.next != nil {
			e.recordState(c, &s, event)
		}
		for _, ref := range f.refs {
			from := len(e.texts)
			e.texts = e.appendKeyText(e.texts, c.form, c.t, v)
			e.out.References = append(e.out.References, ref)
			e.refs = append(e.refs, e.referenceSince(from, c.name))
		}
	}
}

// isNewValue is true if the value is known to be new in the row. Values may be old in a row that a
// snapshot read, in a row with a changed key, and in an update without the value before.
func (c *column) isNewValue(v debezium.Value, event *debezium.Event) bool {
	if c.field.rules.notBefore == 0 {
		return false
	}
	switch event.Op {
	case debezium.Create:
		return len(event.OldKey) == 0
	case debezium.Update:
		before := event.Before.Get(c.name)
		return before != nil && !before.Value.UnavailableAs(before.Type) &&
			string(before.Value.AppendJSON(nil)) != string(v.AppendJSON(nil))
	}
	return false
}

func (e *Encoder) readCell(c *column, v debezium.Value, s *scalar) bool {
	if e.readScalar(c.form, c.t, v, s) {
		return true
	}
	// A value written in another way than its type says is at least kept.
	return c.kind == entity.Any && e.readByJSONType(v, s)
}

// storeScalar appends the member of a value; false where the column's kind cannot hold the value.
func (e *Encoder) storeScalar(c *column, s *scalar) bool {
	o := &e.out
	var ok bool
	e.fine = false
	switch {
	case s.is == isArray && (c.kind == entity.Any || c.kind == entity.Array):
		o.Elements, ok = e.appendArray(o.Elements, c.member, c.items, s.v, false, 0)
		if !ok && c.kind == entity.Any {
			return false
		}
	case s.is == isObject && c.kind == entity.Any:
		o.Elements, ok = e.appendObject(o.Elements, c.member, s.v, 0), true
	default:
		o.Elements, ok = e.writeScalar(o.Elements, c.member, c.kind, s)
	}
	if !ok || c.exact == "" {
		return ok
	}
	switch {
	case !e.fine:
		o.Absent = append(o.Absent, c.exact)
	case s.is == isArray:
		o.Elements, ok = e.appendArray(o.Elements, c.exact, c.items, s.v, true, 0)
	default:
		o.Elements = appendString(o.Elements, c.exact, e.textOf(s))
	}
	return ok
}

// recordState notes a value with ruled transitions, and the value before where the event tells it.
func (e *Encoder) recordState(c *column, s *scalar, event *debezium.Event) {
	state, spans := State{Member: c.member}, stateSpans{}
	state.Value, spans.value = e.knownState(c.field.rules, e.textOf(s))
	if cell := event.Before.Get(c.name); cell != nil {
		var was scalar
		// A column that must not be null has an empty text where only the key is told.
		v := cell.Value
		if v.Kind() != debezium.Null && !v.UnavailableAs(cell.Type) && e.readCell(c, v, &was) {
			if text := e.textOf(&was); len(text) > 0 {
				state.BeforeKnown = true
				state.Before, spans.before = e.knownState(c.field.rules, text)
			}
		}
	}
	e.out.States = append(e.out.States, state)
	e.states = append(e.states, spans)
}

// knownState returns the string of a value named by the rules. The beginning of any other text is
// kept for makeStrings: no rule names the value, and the consumer remembers the last value of many
// rows.
func (e *Encoder) knownState(r *rules, text []byte) (string, span) {
	if value, is := r.states[string(text)]; is {
		return value, span{}
	}
	from := len(e.texts)
	e.texts = append(e.texts, text[:min(len(text), entity.StateMaxBytes)]...)
	return "", span{from, len(e.texts)}
}

// breakRule reports a rule about the event, or about a column without a value.
func (e *Encoder) breakRule(rule string, f *field, reason string) {
	if e.noRules {
		return
	}
	v := entity.Violation{Rule: rule, Severity: e.table.severity[rule], Reason: reason}
	if f != nil {
		v.Field = f.Column
	}
	e.out.Violations = append(e.out.Violations, v)
}

func (e *Encoder) reportViolation(rule string, c *column, value, reason string) {
	e.out.Violations = append(e.out.Violations, entity.Violation{Rule: rule, Field: c.name,
		Value: value, Severity: e.table.severity[rule], Reason: reason})
}

// shown is a value in a Violation.
func (e *Encoder) shown(c *column, v debezium.Value) string {
	if c.field != nil && c.field.Secret {
		return ""
	}
	if v.Kind() == debezium.String || v.Kind() == debezium.Number {
		return value.ShortenBytes(v.Text())
	}
	return value.Shorten(string(v.AppendJSON(nil)))
}
