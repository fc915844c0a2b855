package debezium

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
)

// The limits of a Decoder that sets none.
const (
	DefaultMaxBytes = 32 << 20
	DefaultMaxDepth = 64
)

// Decoder decodes the records of one partition in their order. A Decoder reuses its memory,
// remembers the last schema blocks and skips equal blocks unread. The zero value is ready. A
// Decoder is not safe for concurrent use, and not to be copied.
type Decoder struct {
	// MaxBytes is the limit for the size of a key, value or header; 0 is DefaultMaxBytes.
	MaxBytes int
	// MaxDepth is how deep objects and arrays may nest; 0 is DefaultMaxDepth.
	MaxDepth int

	event         Event
	problem       *FormatError // the first of the part being read
	badSequence   *FormatError // of source.sequence, which not every event needs
	foreign       *FormatError // of an envelope of another connector, whatever else is odd
	reader, inner reader
	memory        memory
	names         map[string]string
	seen          map[string]bool
	last          blocks // of values

	key, oldKey, newKey, before, after rowMemory
}

// FormatError says why a record is not a change event. Field is the place in the record ("key",
// "value", "source.lsn", "header cdc.commit_lsn"); Reason is for a person.
type FormatError struct {
	Field, Reason string
	// Other is "heartbeat" or "transaction" where the record is a correct message of Debezium's
	// own.
	Other string
}

func (e *FormatError) Error() string { return e.Field + ": " + e.Reason }

func formatErrorf(field, format string, args ...any) *FormatError {
	return &FormatError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// complain keeps the first problem. Reading goes on, so that the Event holds everything readable.
func (d *Decoder) complain(field, format string, args ...any) {
	if d.problem == nil {
		d.problem = formatErrorf(field, format, args...)
	}
}

// Decode reads one record, written by JsonConverter with schemas on or off. An empty value, and a
// null spelled out, is a Tombstone. The Event refers to the record's bytes and to the Decoder's
// memory: the Event is valid until the next Decode, and as long as key, value and headers are not
// changed.
//
// Every error is a *FormatError: bad JSON (with the byte, counted from 1), a duplicate member,
// another kind of message (heartbeat, transaction metadata, a flattened row), an impossible member,
// or a limit. The Event beside an error holds the readable part of the record.
func (d *Decoder) Decode(key, value []byte, headers []Header) (*Event, error) {
	source := d.event.Source
	d.event = Event{}
	d.memory.reset()
	d.problem, d.badSequence, d.foreign = nil, nil, nil
	d.event.Key = d.readKeyRow("key", key, &d.key)
	first := d.problem
	for _, h := range headers {
		d.problem = nil
		d.readHeader(h)
		if first == nil {
			first = d.problem
		}
	}
	d.problem = nil
	if len(value) == 0 {
		d.event.Tombstone = true
	} else {
		d.readRecordValue(value, &source)
	}
	if first == nil {
		first = d.problem
	}
	if d.foreign != nil {
		first = d.foreign
	}
	if first == nil {
		return &d.event, nil
	}
	return &d.event, first
}

func (d *Decoder) depthLimit() int {
	if d.MaxDepth > 0 {
		return d.MaxDepth
	}
	return DefaultMaxDepth
}

func (d *Decoder) exceedsMaxBytes(place string, text []byte) bool {
	limit := DefaultMaxBytes
	if d.MaxBytes > 0 {
		limit = d.MaxBytes
	}
	if len(text) > limit {
		d.complain(place, "has %d bytes, the limit is %d", len(text), limit)
	}
	return len(text) > limit
}

// The places of the two headers, made once.
const (
	placeOldKey = "header " + HeaderOldKey
	placeNewKey = "header " + HeaderNewKey
)

func (d *Decoder) readHeader(h Header) {
	switch h.Key {
	case HeaderOldKey:
		d.event.OldKey = d.readOtherKey(placeOldKey, h.Value, &d.oldKey)
		d.event.Comes = len(h.Value) > 0
	case HeaderNewKey:
		d.event.NewKey = d.readOtherKey(placeNewKey, h.Value, &d.newKey)
		d.event.Leaves = len(h.Value) > 0
	case HeaderCommitLSN:
		lsn, err := strconv.ParseUint(string(h.Value), 10, 64)
		if err != nil {
			d.complain("header "+HeaderCommitLSN, "%.60q is no decimal LSN", h.Value)
		}
		d.event.CommitLSN = lsn
	}
}

// readOtherKey reads a key in a header. Connect's SimpleHeaderConverter, the default for headers,
// writes a row as JSON but for some values: see mendConnectJSON. A header in another form is noted
// and is no problem of the record, because most events do not need the other key.
func (d *Decoder) readOtherKey(place string, key []byte, m *rowMemory) Row {
	row := d.readKeyRow(place, key, m)
	first := d.problem
	if first == nil || d.exceedsMaxBytes(place, key) {
		return row
	}
	d.problem = nil
	if row = d.readKeyRow(place, mendConnectJSON(key), m); d.problem != nil {
		d.problem, d.event.OtherKeyUnread = nil, first
		return nil
	}
	return row
}

// controls are the characters to be escaped in JSON.
var controls = regexp.MustCompile(`[\x00-\x1f]`)

// mendConnectJSON turns the text of a row by Connect's Values.java into JSON, because Values.java
// leaves control characters in texts unescaped, and writes NaN and Connect's own dates and times
// (time.precision.mode=connect) without quotes. A text without an end stays as it is.
func mendConnectJSON(text []byte) []byte {
	mended := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		end := 1
		switch {
		case text[0] == '"':
			if end = endOfText(text); end == 0 {
				return append(mended, text...)
			}
		case bytes.IndexByte([]byte(space+"\f{}[],:"), text[0]) >= 0:
			mended, text = append(mended, text[0]), text[1:]
			continue
		default:
			if end = bytes.IndexAny(text, `"{}[],`); end < 0 {
				end = len(text)
			}
		}
		mended, text = append(mended, mendLiteral(text[:end])...), text[end:]
	}
	return mended
}

// endOfText returns the length of the text in quotes at the beginning; 0 where the text has no end.
func endOfText(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

func mendLiteral(value []byte) []byte {
	if json.Valid(value) {
		return value
	}
	if value[0] != '"' {
		value = fmt.Appendf(nil, `"%s"`, value)
	}
	escape := func(c []byte) []byte { return fmt.Appendf(nil, `\u%04x`, c) }
	return controls.ReplaceAllFunc(value, escape)
}

// readKeyRow reads a key, wrapped with its schema or not; a null key is a nil Row.
func (d *Decoder) readKeyRow(place string, key []byte, m *rowMemory) Row {
	if len(key) == 0 || d.exceedsMaxBytes(place, key) {
		return nil
	}
	if b := m.last.findByPrefix(key); b != nil {
		text := key[len(b.prefix):]
		d.reader.begin(text)
		if kind, err := d.reader.openObject(); err == nil && kind == '{' {
			row, err := d.readColumns(m, b, place, 2)
			if err == nil && closesRecord(text[d.reader.inputOffset():]) {
				return row
			}
		}
		d.problem = nil
	}
	d.reader.begin(key)
	kind, err := d.reader.openObject()
	var row Row
	if err == nil && kind == '{' {
		row, err = d.readColumns(m, nil, place, 1)
	}
	switch {
	case err != nil:
		d.problem = syntaxError(place, key, err)
		return nil
	case kind != '{' && kind != 'n':
		d.complain(place, "is a JSON %s, not an object", kindName(bytes.TrimLeft(key, space)))
	}
	if after := trailingError(place, key, d.reader.inputOffset()); after != nil {
		d.problem = after
	}
	if len(row) == 2 && d.problem == nil {
		schema, payload := row.Get("schema"), row.Get("payload")
		if schema != nil && payload != nil && isSchemaBlock(schema.Value) {
			return d.unwrapKeyRow(place, key, m, schema.Value.raw, payload.Value.raw)
		}
	}
	return row
}

// unwrapKeyRow reads the row beside a schema block.
func (d *Decoder) unwrapKeyRow(place string, key []byte, m *rowMemory, schema, payload []byte) Row {
	b, err := keyBlocks.getOrParse(schema)
	switch {
	case err != nil:
		d.complain(place, "its schema cannot be read: %v", err)
	case payload[0] == 'n':
		return nil
	case payload[0] != '{':
		d.complain(place, "is no row of columns but a JSON %s", kindName(payload))
	}
	if d.problem != nil {
		return nil
	}
	m.last.learnBlock(key, b)
	d.reader.begin(payload)
	row := Row(nil)
	if _, err = d.reader.openObject(); err == nil {
		row, err = d.readColumns(m, b, place, 2)
	}
	if err != nil {
		d.problem = syntaxError(place, payload, err)
	}
	return row
}

// isSchemaBlock tells a schema block from a primary-key column called schema, because a key's
// column is neither null nor an object with a type.
func isSchemaBlock(v Value) bool {
	return v.Kind() == Null || v.Kind() == Object && v.Member("type").Kind() == String
}

// closesRecord is true if the text is only the end of a wrapped record's object.
func closesRecord(text []byte) bool {
	rest, found := bytes.CutPrefix(bytes.TrimLeft(text, space), []byte("}"))
	return found && len(bytes.TrimLeft(rest, space)) == 0
}
