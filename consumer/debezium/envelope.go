package debezium

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// parts are the members found in an object that may be an envelope.
type parts struct {
	op, source      bool
	tsMs, tsUs      number
	schema, payload []byte // of a record with schemas on, unchanged
	seen            uint   // a bit for every known member
	members         int
}

// The bits of the members that tell the kind of an object.
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
	hasCollections
)

// transactionMembers are the members of Debezium's message about a transaction.
const transactionMembers = hasID | hasStatus | hasEventCount | hasCollections

// hasAnyMember is true if any of the members is there.
func (p *parts) hasAnyMember(members uint) bool { return p.seen&members != 0 }

// isSpelledNull is true for a null beside its schema, which may be null as well.
func (p *parts) isSpelledNull() bool {
	return p.seen == hasSchema|hasPayload && p.members == 2 && p.payload[0] == 'n' &&
		(p.schema[0] == 'n' || p.schema[0] == '{')
}

// number is a whole number, or none.
type number struct {
	n     int64
	there bool
}

// readRecordValue reads a value of at least one byte. last is the source block of the record
// before.
func (d *Decoder) readRecordValue(value []byte, last *Source) {
	if d.exceedsMaxBytes("value", value) {
		return
	}
	if b := d.last.findByPrefix(value); b != nil {
		if d.readPayload(value[len(b.prefix):], b, last) {
			return
		}
		d.problem = nil
	}
	d.reader.begin(value)
	kind, err := d.reader.openObject()
	var p parts
	if err == nil && kind == '{' {
		p, err = d.readEnvelope(nil, 1, last)
	}
	if err != nil {
		d.problem = syntaxError("value", value, err)
		return
	}
	if after := trailingError("value", value, d.reader.inputOffset()); after != nil {
		d.problem = after
		return
	}
	switch {
	case kind == 'n', p.isSpelledNull():
		d.event.Tombstone = true
	case kind != '{':
		d.complain("value", "is not an object")
	case !p.op && !p.source && p.payload != nil && p.payload[0] == '{' && d.problem == nil:
		d.unwrapPayload(value, &p, last)
	default:
		d.judgeEnvelope(&p)
	}
}

// readPayload reads the rest of a record behind a known schema block. True means an envelope and
// the end of the record; after false the caller reads the record anew.
func (d *Decoder) readPayload(text []byte, b *block, last *Source) bool {
	d.reader.begin(text)
	if kind, err := d.reader.openObject(); err != nil || kind != '{' {
		return false
	}
	p, err := d.readEnvelope(b, 2, last)
	if err != nil || !p.op || !p.source || !closesRecord(text[d.reader.inputOffset():]) {
		return false
	}
	d.event.Schema = b.schema
	d.judgeEnvelope(&p)
	return true
}

// unwrapPayload reads the payload beside a new schema block, or beside a block in an unusual place.
func (d *Decoder) unwrapPayload(value []byte, p *parts, last *Source) {
	b, schemaErr := &block{}, error(nil)
	if p.schema != nil {
		if b, schemaErr = valueBlocks.getOrParse(p.schema); b == nil {
			b = &block{}
		}
	}
	d.reader.begin(p.payload)
	_, err := d.reader.openObject()
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
			d.last.learnBlock(value, b)
		}
	}
	d.judgeEnvelope(&inner)
}

// judgeEnvelope judges the envelope just read.
func (d *Decoder) judgeEnvelope(p *parts) {
	event := &d.event
	if of := event.Source.Connector; of != "" && of != Connector {
		d.foreign = formatErrorf("source.connector",
			"is %.40q: only %s has positions that compare", of, Connector)
		return
	}
	if !p.op || !p.source {
		if d.problem == nil {
			d.problem = otherMessage(p, event.Key)
		}
		return
	}
	event.TsUs = d.preferMicros("ts_us", p.tsUs, p.tsMs)
	if d.badSequence != nil && event.needsSequence() && d.problem == nil {
		d.problem = d.badSequence
	}
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
		name, err := d.reader.readMemberName()
		if name == nil || err != nil {
			return p, err
		}
		bit := uint(0)
		switch string(name) {
		case `"before"`:
			bit = hasBefore
			d.event.Before, err = d.readRowMember(&d.before, b, "before", depth)
		case `"after"`:
			bit = hasAfter
			d.event.After, err = d.readRowMember(&d.after, b, "after", depth)
		case `"source"`:
			bit = hasSource
			p.source, err = d.readSource(last, depth)
		case `"op"`:
			bit = hasOp
			var text string
			p.op, text, err = d.readTextMember("op", string(Create))
			d.event.Op = Op(text)
		case `"ts_ms"`:
			bit = hasTsMs
			p.tsMs, err = d.readNumberMember("ts_ms")
		case `"ts_us"`:
			bit = hasTsUs
			p.tsUs, err = d.readNumberMember("ts_us")
		case `"schema"`:
			bit = hasSchema
			p.schema, err = d.reader.readRawValue()
		case `"payload"`:
			bit = hasPayload
			p.payload, err = d.reader.readRawValue()
		case `"id"`:
			bit, err = hasID, d.skipMember(depth)
		case `"status"`:
			bit, err = hasStatus, d.skipMember(depth)
		case `"event_count"`:
			bit, err = hasEventCount, d.skipMember(depth)
		case `"data_collections"`:
			bit, err = hasCollections, d.skipMember(depth)
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

// skipMember reads a member without a meaning in an envelope.
func (d *Decoder) skipMember(depth int) error {
	raw, err := d.reader.readRawValue()
	if err == nil && (raw[0] == '{' || raw[0] == '[') {
		d.checkNested(raw, "value", "", depth)
	}
	return err
}

func (d *Decoder) readRowMember(m *rowMemory, b *block, place string, depth int) (Row, error) {
	if d.reader.json.PeekKind() == '{' {
		if _, err := d.reader.json.ReadToken(); err != nil {
			return nil, err
		}
		return d.readColumns(m, b, place, depth+1)
	}
	raw, err := d.reader.readRawValue()
	if err == nil && raw[0] != 'n' {
		d.complain(place, "is a JSON %s, not an object", kindName(raw))
	}
	return nil, err
}

// readTextMember reads a text: there is false for null.
func (d *Decoder) readTextMember(field, guess string) (there bool, text string, err error) {
	raw, err := d.reader.readRawValue()
	switch {
	case err != nil || raw[0] == 'n':
		return false, "", err
	case raw[0] != '"':
		d.complain(field, "is a JSON %s, not a text", kindName(raw))
		return true, "", nil
	}
	return true, d.unquoteText(raw, guess), nil
}

func (d *Decoder) readNumberMember(field string) (number, error) {
	raw, err := d.reader.readRawValue()
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

// preferMicros prefers us: connectors before 2.6 and logical messages have milliseconds only.
func (d *Decoder) preferMicros(field string, us, ms number) int64 {
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

// flattened begins the reason for records flattened by Debezium's transformation.
const flattened = "is a flattened row (ExtractNewRecordState), not Debezium's whole envelope"

// otherMessage names the kind of an object without op or source. Other is set where the key, too,
// is of Debezium's own message, because a flattened row may have columns of the same names.
func otherMessage(p *parts, key Row) *FormatError {
	own := func(column, kind string) (other string, is bool) {
		switch {
		case len(key) == 0:
			return "", true
		case len(key) == 1 && key[0].Name == column && key[0].Value.Kind() == String:
			return kind, true
		}
		return "", false
	}
	heartbeat, isHeartbeat := own("serverName", "heartbeat")
	transaction, isTransaction := own("id", "transaction")
	switch {
	case p.hasAnyMember(hasOp) && p.hasAnyMember(hasBefore|hasAfter):
		return formatErrorf("source", "is missing: op is there, the source block is not")
	case p.hasAnyMember(hasSource) && p.hasAnyMember(hasBefore|hasAfter):
		return formatErrorf("op", "is missing")
	case p.hasAnyMember(hasTsMs) && p.members == 1 && isHeartbeat:
		return &FormatError{"value", "is a heartbeat, not a change: leave its topic out",
			heartbeat}
	case p.seen&transactionMembers == transactionMembers && isTransaction:
		return &FormatError{"value", "is transaction metadata, not a change: leave its topic out",
			transaction}
	}
	return formatErrorf("value", flattened+": it has neither op nor source")
}

// parseSequence reads `["24023119","24023128"]`, escaped inside a JSON string; either member may be
// null.
func parseSequence(quoted []byte) (pair [2]uint64, ok bool) {
	inner, opened := bytes.CutPrefix(quoted, []byte(`"[`))
	inner, closed := bytes.CutSuffix(inner, []byte(`]"`))
	first, second, two := bytes.Cut(inner, []byte(","))
	if opened && closed && two {
		var one, other bool
		pair[0], one = parseQuotedLSN(first)
		pair[1], other = parseQuotedLSN(second)
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

func parseQuotedLSN(member []byte) (uint64, bool) {
	if string(member) == "null" {
		return 0, true
	}
	member, opened := bytes.CutPrefix(member, []byte(`\"`))
	member, closed := bytes.CutSuffix(member, []byte(`\"`))
	lsn, err := strconv.ParseUint(string(member), 10, 64)
	return lsn, opened && closed && err == nil
}
