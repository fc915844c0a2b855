package entity

import (
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// Encoder makes BSON elements of events, and applies every rule in the same pass. It reuses its
// memory: there is one for each partition, and it is not safe for concurrent use. The zero value is
// ready.
type Encoder struct {
	writer
	table *Table
	shape *plan

	out     Encoded
	noRules bool
	commit  int64

	// texts holds the strings of the Encoded until there is one string of them all.
	texts              []byte
	id, parent, before span
	refs               []span
	states             []stateSpans
}

// span is a part of texts.
type span struct{ from, to int }

type stateSpans struct{ value, before span }

// Facts are what is known of an event besides its record's content.
type Facts struct {
	// Recorded is the Kafka timestamp of the record; zero where there is none.
	Recorded time.Time
	// NoRules: nothing is judged, and a value that does not fit its Field is stored by its type.
	NoRules bool
}

// Encoded is an event as it is to be stored. It is valid until the Encoder's next Encode, but the
// strings stay.
type Encoded struct {
	// ID is the text of the key: the document's _id, or the map key of an embedded row. Several key
	// columns are a JSON array of texts.
	ID string
	// Parent is the _id of the document an embedded row lives in, from after, or of a delete from
	// before; Before is that according to before. Both are "" where the event does not tell.
	Parent, Before string
	// Elements are the members as BSON elements, in the row's order, without the document's length
	// and its end; none of a delete.
	Elements []byte
	// Absent are members to be removed: exact texts that their timestamps do not need any more.
	Absent []string
	// Missing are members left out because Debezium had no value for them.
	Missing []string
	// Drifted are values of an update that do not fit the type which their column had before.
	Drifted []Drifted
	// References are the foreign keys that are not null. An embedded row's to its document is not
	// among them.
	References []Ref
	// States are the values of the members whose transitions are ruled.
	States []State
	// Violations are of the rules that the event alone decides.
	Violations []Violation
	// Changes are differences of the table's columns that are seen for the first time.
	Changes []SchemaChange
}

// Ref is a row that the event's row refers to: the document ID of Collection.
type Ref struct {
	Collection, ID, Column string
	// Missing and Grace say what is to be done while it is not there.
	Missing Missing
	Grace   time.Duration
}

// State is a value whose transitions are ruled.
type State struct {
	Member, Value string
	// Before is the value that the event says it had, if BeforeKnown.
	Before      string
	BeforeKnown bool
}

// Encode converts and judges one event that changes a row. The error is a *KeyError: the row has no
// usable key.
func (e *Encoder) Encode(t *Table, event *debezium.Event, facts Facts) (*Encoded, error) {
	if e.table != t {
		e.table, e.shape = t, nil
	}
	o := &e.out
	o.Elements, o.Absent, o.Missing, o.References = o.Elements[:0], o.Absent[:0], o.Missing[:0], o.References[:0]
	o.States, o.Violations, o.Changes, o.Drifted = o.States[:0], o.Violations[:0], nil, nil
	e.texts, e.refs, e.states = e.texts[:0], e.refs[:0], e.states[:0]
	e.noRules, e.commit = facts.NoRules, event.Source.TsUs
	if err := e.identify(event); err != nil {
		return nil, err
	}
	e.judgeTimes(event, facts)
	if event.After != nil && event.Op != debezium.Delete {
		e.row(event)
	}
	e.tell()
	return o, nil
}

// identify reads the keys of the row, and of the documents that it lives and lived in.
func (e *Encoder) identify(event *debezium.Event) (err error) {
	e.id.from = len(e.texts)
	key := event.Key
	if column := e.table.spec.Key; column != "" && len(key) > 0 && key.Get(column) == nil {
		// The message's key may be of other columns than the table's.
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
		e.before = e.document(event.Before, embed.Parent)
		if e.parent = e.document(event.After, embed.Parent); event.Op == debezium.Delete {
			e.parent = e.before
		}
	}
	return nil
}

// document reads the key of the document that a row is embedded in. A delete under the default
// replica identity has an empty text or a zero there.
func (e *Encoder) document(row debezium.Row, column string) span {
	cell := row.Get(column)
	if cell == nil || cell.Value.Kind() == debezium.Null {
		return span{}
	}
	from := len(e.texts)
	e.texts = e.keyText(e.texts, e.table.fields[column], cell.Type, cell.Value)
	if text := e.texts[from:]; len(text) == 1 && text[0] == '0' {
		e.texts = e.texts[:from]
	}
	return span{from, len(e.texts)}
}

// tell makes the strings, all at once.
func (e *Encoder) tell() {
	text, o := string(e.texts), &e.out
	o.ID, o.Parent, o.Before = text[e.id.from:e.id.to], text[e.parent.from:e.parent.to], text[e.before.from:e.before.to]
	for i, s := range e.refs {
		o.References[i].ID = text[s.from:s.to]
	}
	for i, s := range e.states {
		state := &o.States[i]
		if state.Value == "" {
			state.Value = text[s.value.from:s.value.to]
		}
		if state.BeforeKnown && state.Before == "" {
			state.Before = text[s.before.from:s.before.to]
		}
	}
}

func (e *Encoder) row(event *debezium.Event) {
	row := event.After
	keyed := e.table.spec.Key == "" && len(event.Key) == 1 && event.Key[0].Name == "id"
	if e.shape == nil || !e.shape.fits(row, keyed) {
		e.shape, e.out.Changes = e.table.plan(row, keyed, event.Source.TsUs)
	}
	for i := range e.shape.columns {
		e.cell(&e.shape.columns[i], row[i].Value, event)
	}
	for _, f := range e.shape.absent {
		e.breakRule(RuleRequired, f, "is absent")
	}
}

func (e *Encoder) cell(c *column, v debezium.Value, event *debezium.Event) {
	o := &e.out
	kind := v.Kind()
	switch {
	case c.nameless:
		e.report(RuleName, c, "", "has a NUL in its name")
		return
	case kind == debezium.Null:
		if c.key {
			return
		}
		if o.Elements = appendNull(o.Elements, c.member); c.exact != "" {
			o.Absent = append(o.Absent, c.exact[:len(c.exact)-1])
		}
		if c.field != nil && c.field.Required {
			e.breakRule(RuleRequired, c.field, "is null")
		}
		return
	case kind >= debezium.String && !c.key && v.Unavailable():
		o.Missing = append(o.Missing, c.memberName())
		return
	}
	var s scalar
	read := e.readCell(c, v, &s)
	start := len(o.Elements)
	stored := read && e.store(c, &s)
	if c.key {
		o.Elements = o.Elements[:start]
	}
	if !stored {
		o.Elements = o.Elements[:start]
		e.misfit(c, v, event.Op)
		return
	}
	if f := c.field; f != nil && s.is < isArray {
		if f.rules != nil && !e.noRules {
			f.rules.judge(&e.writer, &s, e.commit, c.fresh(v, event), func(rule, reason string) { e.report(rule, c, e.shown(c, v), reason) })
		}
		if f.rules != nil && f.rules.next != nil {
			e.state(c, &s, event)
		}
		for _, ref := range f.refs {
			e.refer(ref, c, v)
		}
	}
}

// fresh: the value is known to be new in the row. What a snapshot read, a row that changed its key and
// an update that does not tell what was before may have from long ago.
func (c *column) fresh(v debezium.Value, event *debezium.Event) bool {
	if c.field.rules.notBefore == 0 {
		return false
	}
	switch event.Op {
	case debezium.Create:
		return len(event.OldKey) == 0
	case debezium.Update:
		before := event.Before.Get(c.name)
		return before != nil && !before.Value.Unavailable() && string(before.Value.AppendJSON(nil)) != string(v.AppendJSON(nil))
	}
	return false
}

func (e *Encoder) readCell(c *column, v debezium.Value, s *scalar) bool {
	if e.read(c.form, c.t, v, s) {
		return true
	}
	// What is written in another way than its type says is at least kept.
	return c.kind == Any && e.plain(v, s)
}

// store appends the member of a value; false where it cannot be stored as its kind.
func (e *Encoder) store(c *column, s *scalar) bool {
	o := &e.out
	var ok bool
	e.fine = false
	switch {
	case s.is == isArray && (c.kind == Any || c.kind == Array):
		o.Elements, ok = e.array(o.Elements, c.member, c.items, s.v, false, 0)
		if !ok && c.kind == Any {
			return false
		}
	case s.is == isObject && c.kind == Any:
		o.Elements, ok = e.object(o.Elements, c.member, s.v, 0), true
	default:
		o.Elements, ok = e.write(o.Elements, c.member, c.kind, s)
	}
	if !ok || c.exact == "" {
		return ok
	}
	switch {
	case !e.fine:
		o.Absent = append(o.Absent, c.exact[:len(c.exact)-1])
	case s.is == isArray:
		o.Elements, ok = e.array(o.Elements, c.exact, c.items, s.v, true, 0)
	default:
		o.Elements = appendString(o.Elements, c.exact, e.textOf(s))
	}
	return ok
}

func (e *Encoder) refer(ref Ref, c *column, v debezium.Value) {
	from := len(e.texts)
	e.texts = e.keyText(e.texts, c.field, c.t, v)
	e.out.References = append(e.out.References, ref)
	e.refs = append(e.refs, span{from, len(e.texts)})
}

// state notes a value whose transitions are ruled, with the one before where the event tells it.
func (e *Encoder) state(c *column, s *scalar, event *debezium.Event) {
	state, spans := State{Member: c.memberName()}, stateSpans{}
	state.Value, spans.value = e.known(c.field.rules, e.textOf(s))
	if cell := event.Before.Get(c.name); cell != nil {
		var was scalar
		// An empty text is what a column that must not be null has where only the key is told.
		if v := cell.Value; v.Kind() != debezium.Null && !v.Unavailable() && e.readCell(c, v, &was) {
			if text := e.textOf(&was); len(text) > 0 {
				state.BeforeKnown = true
				state.Before, spans.before = e.known(c.field.rules, text)
			}
		}
	}
	e.out.States = append(e.out.States, state)
	e.states = append(e.states, spans)
}

// known is the string of a value that the rules name; of any other the text is kept for tell.
func (e *Encoder) known(r *rules, text []byte) (string, span) {
	if value, is := r.states[string(text)]; is {
		return value, span{}
	}
	from := len(e.texts)
	e.texts = append(e.texts, text...)
	return "", span{from, len(e.texts)}
}

// breakRule reports a rule about the event, or about a column that has no value.
func (e *Encoder) breakRule(rule string, f *field, reason string) {
	if e.noRules {
		return
	}
	v := Violation{Rule: rule, Severity: e.table.severity[rule], Reason: reason}
	if f != nil {
		v.Field = f.Column
	}
	e.out.Violations = append(e.out.Violations, v)
}

func (e *Encoder) report(rule string, c *column, value, reason string) {
	e.out.Violations = append(e.out.Violations, Violation{Rule: rule, Field: c.name, Value: value,
		Severity: e.table.severity[rule], Reason: reason})
}

// shown is a value in a Violation.
func (e *Encoder) shown(c *column, v debezium.Value) string {
	if c.field != nil && c.field.Secret {
		return ""
	}
	if v.Kind() == debezium.String || v.Kind() == debezium.Number {
		text := v.Text()
		return shorten(string(text[:min(len(text), 2*shownBytes)]))
	}
	return shorten(string(v.AppendJSON(nil)))
}
