package debezium

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// parts say what an object that may be an envelope has.
type parts struct {
	op, source      bool
	tsMs, tsUs      number
	schema, payload []byte // of a record with schemas on, as they came
	seen            uint   // a bit for every known member
	members         int
}

// The bits of the members that tell what an object is.
const (
	hasBefore uint = 1 << iota
	hasAfter
	hasSource
	hasOp
	hasTsMs
	hasTsUs
	hasSchema
	hasPayload
	hasID
	hasStatus
	hasEventCount
)

// has says whether any of the members is there.
func (p *parts) has(members uint) bool { return p.seen&members != 0 }

// number is a whole number, or none.
type number struct {
	n     int64
	there bool
}

// readValue reads a value that is not empty. last is the source block of the record before.
func (d *Decoder) readValue(value []byte, last *Source) {
	if d.tooLong("value", value) {
		return
	}
	if b := d.last.find(value); b != nil {
		if d.readPayload(value[len(b.prefix):], b, last) {
			return
		}
		d.problem = nil
	}
	d.reader.begin(value)
	kind, err := d.reader.open()
	var p parts
	if err == nil && kind == '{' {
		p, err = d.readEnvelope(nil, 1, last)
	}
	if err != nil {
		d.problem = syntaxError("value", value, err)
		return
	}
	if after := trailing("value", value, d.reader.end()); after != nil {
		d.problem = after
		return
	}
	switch {
	case kind != '{':
		d.complain("value", "is not an object")
	case !p.op && !p.source && p.payload != nil && p.payload[0] == '{' && d.problem == nil:
		d.unwrap(value, &p, last)
	default:
		d.finish(&p)
	}
}

// readPayload reads what follows a known schema block. Where that is anything but an envelope and
// the end of the record, it is not its business: false.
func (d *Decoder) readPayload(text []byte, b *block, last *Source) bool {
	d.reader.begin(text)
	if kind, err := d.reader.open(); err != nil || kind != '{' {
		return false
	}
	p, err := d.readEnvelope(b, 2, last)
	if err != nil || !p.op || !p.source || !closed(text[d.reader.end():]) {
		return false
	}
	d.event.Schema = b.schema
	d.finish(&p)
	return true
}

// unwrap reads the payload beside a schema block that is new, or not where it usually is.
func (d *Decoder) unwrap(value []byte, p *parts, last *Source) {
	b, schemaErr := &block{}, error(nil)
	if p.schema != nil {
		if b, schemaErr = valueBlocks.get(p.schema); b == nil {
			b = &block{}
		}
	}
	d.reader.begin(p.payload)
	_, err := d.reader.open()
	var inner parts
	if err == nil {
		inner, err = d.readEnvelope(b, 2, last)
	}
	switch {
	case err != nil:
		d.problem = syntaxError("value", p.payload, err)
		return
	case !inner.op && !inner.source:
	case schemaErr != nil:
		d.complain("schema", "cannot be read: %v", schemaErr)
	default:
		d.event.Schema = b.schema
		if p.schema != nil {
			d.last.learn(value, b)
		}
	}
	d.finish(&inner)
}

// finish judges an envelope that was read.
func (d *Decoder) finish(p *parts) {
	event := &d.event
	if !p.op || !p.source {
		if d.problem == nil {
			d.problem = otherMessage(p)
		}
		return
	}
	event.TsUs = d.micros("ts_us", p.tsUs, p.tsMs)
	switch event.Op {
	case Create, Update, Read:
		if event.After == nil {
			d.complain("after", "is null where op is %q", event.Op)
		}
	case Delete, Truncate:
	case Message:
		return
	default:
		d.complain("op", "%.20q is unknown", event.Op)
	}
	if event.Source.Schema == "" || event.Source.Table == "" {
		d.complain("source.table", "schema %q and table %q do not name a table",
			event.Source.Schema, event.Source.Table)
	}
}

// readEnvelope reads the members of an object: of Debezium's Envelope.java. Others are skipped.
func (d *Decoder) readEnvelope(b *block, depth int, last *Source) (p parts, err error) {
	for {
		name, err := d.reader.name()
		if name == nil || err != nil {
			return p, err
		}
		bit := uint(0)
		switch string(name) {
		case `"before"`:
			bit = hasBefore
			d.event.Before, err = d.rowMember(&d.before, b, "before", depth)
		case `"after"`:
			bit = hasAfter
			d.event.After, err = d.rowMember(&d.after, b, "after", depth)
		case `"source"`:
			bit = hasSource
			p.source, err = d.readSource(last, depth)
		case `"op"`:
			bit = hasOp
			var text string
			p.op, text, err = d.textMember("op", string(Create))
			d.event.Op = Op(text)
		case `"ts_ms"`:
			bit = hasTsMs
			p.tsMs, err = d.numberMember("ts_ms")
		case `"ts_us"`:
			bit = hasTsUs
			p.tsUs, err = d.numberMember("ts_us")
		case `"schema"`:
			bit = hasSchema
			p.schema, err = d.reader.value()
		case `"payload"`:
			bit = hasPayload
			p.payload, err = d.reader.value()
		case `"id"`:
			bit, err = hasID, d.skipMember(depth)
		case `"status"`:
			bit, err = hasStatus, d.skipMember(depth)
		case `"event_count"`:
			bit, err = hasEventCount, d.skipMember(depth)
		default:
			err = d.skipMember(depth)
		}
		if err != nil {
			return p, err
		}
		p.members++
		if p.seen&bit != 0 {
			d.complain(string(name[1:len(name)-1]), "is there twice")
		}
		p.seen |= bit
	}
}

// skipMember reads a member that means nothing here.
func (d *Decoder) skipMember(depth int) error {
	raw, err := d.reader.value()
	if err == nil && (raw[0] == '{' || raw[0] == '[') {
		d.checkNested(raw, "value", "", depth)
	}
	return err
}

func (d *Decoder) rowMember(m *rowMemory, b *block, place string, depth int) (Row, error) {
	if d.reader.json.PeekKind() == '{' {
		if _, err := d.reader.json.ReadToken(); err != nil {
			return nil, err
		}
		return d.readRow(m, b, place, depth+1)
	}
	raw, err := d.reader.value()
	if err == nil && raw[0] != 'n' {
		d.complain(place, "is a JSON %s, not an object", kindName(raw))
	}
	return nil, err
}

// textMember reads a text: there is false for null.
func (d *Decoder) textMember(field, guess string) (there bool, text string, err error) {
	raw, err := d.reader.value()
	switch {
	case err != nil || raw[0] == 'n':
		return false, "", err
	case raw[0] != '"':
		d.complain(field, "is a JSON %s, not a text", kindName(raw))
		return true, "", nil
	}
	return true, d.text(raw, guess), nil
}

func (d *Decoder) numberMember(field string) (number, error) {
	raw, err := d.reader.value()
	if err != nil || raw[0] == 'n' {
		return number{}, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil {
		return number{n, true}, nil
	}
	kind := kindName(raw)
	if kind == "number" {
		d.complain(field, "is a JSON number %.40s, not a whole number", raw)
	} else {
		d.complain(field, "is a JSON %s, not a whole number", kind)
	}
	return number{}, nil
}

// micros prefers us: connectors before 2.6 and logical messages have milliseconds only.
func (d *Decoder) micros(field string, us, ms number) int64 {
	switch {
	case us.there:
		return us.n
	case !ms.there:
		return 0
	case ms.n > math.MaxInt64/1000 || ms.n < math.MinInt64/1000:
		d.complain(field, "%d ms is out of range", ms.n)
		return 0
	}
	return ms.n * 1000
}

// flattened begins the reason for records that went through Debezium's transformation.
const flattened = "is a flattened row (ExtractNewRecordState), not Debezium's whole envelope"

// otherMessage says what an object without op or source is instead of an envelope.
func otherMessage(p *parts) *FormatError {
	switch {
	case p.has(hasPayload) && p.has(hasSchema) && p.members == 2 && p.payload[0] == 'n':
		return formatErrorf("value", flattened+": its payload is null")
	case p.has(hasOp) && p.has(hasBefore|hasAfter):
		return formatErrorf("source", "is missing: op is there, the source block is not")
	case p.has(hasSource) && p.has(hasBefore|hasAfter):
		return formatErrorf("op", "is missing")
	case p.has(hasTsMs) && p.members == 1:
		return &FormatError{"value", "is a heartbeat, not a change: leave its topic out", "heartbeat"}
	case p.has(hasStatus) && p.has(hasID) && p.has(hasEventCount):
		return &FormatError{"value", "is transaction metadata, not a change: leave its topic out", "transaction"}
	}
	return formatErrorf("value", flattened+": it has neither op nor source")
}

// parseSequence reads `["24023119","24023128"]`, in which each may be null, as it stands in a JSON
// string.
func parseSequence(quoted []byte) (pair [2]uint64, ok bool) {
	inner, opened := bytes.CutPrefix(quoted, []byte(`"[`))
	inner, closed := bytes.CutSuffix(inner, []byte(`]"`))
	first, second, two := bytes.Cut(inner, []byte(","))
	if opened && closed && two {
		var one, other bool
		pair[0], one = parseLSN(first)
		pair[1], other = parseLSN(second)
		if one && other {
			return pair, true
		}
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	var members []*string
	if err != nil || json.Unmarshal(text, &members) != nil || len(members) != 2 {
		return [2]uint64{}, false
	}
	for i, m := range members {
		if m == nil {
			pair[i] = 0
		} else if pair[i], err = strconv.ParseUint(*m, 10, 64); err != nil {
			return [2]uint64{}, false
		}
	}
	return pair, true
}

func parseLSN(member []byte) (uint64, bool) {
	if string(member) == "null" {
		return 0, true
	}
	member, opened := bytes.CutPrefix(member, []byte(`\"`))
	member, closed := bytes.CutSuffix(member, []byte(`\"`))
	lsn, err := strconv.ParseUint(string(member), 10, 64)
	return lsn, opened && closed && err == nil
}
