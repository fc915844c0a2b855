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

// Decoder decodes the records of one partition, one after the other: it reuses its memory,
// remembers the last schema blocks and skips equal ones unread. It is not safe for concurrent use,
// and not to be copied. The zero value is ready.
type Decoder struct {
	// MaxBytes is the largest key, value or header that is read; 0 is DefaultMaxBytes.
	MaxBytes int
	// MaxDepth is how deep objects and arrays may nest; 0 is DefaultMaxDepth.
	MaxDepth int

	event         Event
	problem       *FormatError // the first of the part that is being read
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
	// Other is "heartbeat" or "transaction" where the record is one of Debezium's own messages and
	// nothing is wrong with it.
	Other string
}

func (e *FormatError) Error() string { return e.Field + ": " + e.Reason }

func formatErrorf(field, format string, args ...any) *FormatError {
	return &FormatError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// complain keeps the first problem; reading goes on, so that the Event holds what it can.
func (d *Decoder) complain(field, format string, args ...any) {
	if d.problem == nil {
		d.problem = formatErrorf(field, format, args...)
	}
}

// Decode is Decoder.Decode for a single record.
func Decode(key, value []byte, headers []Header) (Event, error) {
	event, err := new(Decoder).Decode(key, value, headers)
	return *event, err
}

// Decode reads one record, written by JsonConverter with schemas on or off. An empty value is a
// Tombstone. The Event refers to the record's bytes and to the Decoder's memory: it is valid until
// the next Decode, and as long as key, value and headers are not changed.
//
// Every error is a *FormatError: bad JSON (with the byte, counted from 1), a member that is there
// twice, another kind of message (heartbeat, transaction metadata, a flattened row), a member that
// cannot be, or a limit. The Event that comes with an error holds what could be read.
func (d *Decoder) Decode(key, value []byte, headers []Header) (*Event, error) {
	source := d.event.Source
	d.event = Event{}
	d.memory.reset()
	d.problem = nil
	d.event.Key = d.readKey("key", key, &d.key)
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
		d.readValue(value, &source)
	}
	if first == nil {
		first = d.problem
	}
	if first == nil {
		return &d.event, nil
	}
	return &d.event, first
}

func (d *Decoder) maxDepth() int {
	if d.MaxDepth > 0 {
		return d.MaxDepth
	}
	return DefaultMaxDepth
}

func (d *Decoder) tooLong(place string, text []byte) bool {
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
	case HeaderNewKey:
		d.event.NewKey = d.readOtherKey(placeNewKey, h.Value, &d.newKey)
	case HeaderCommitLSN:
		lsn, err := strconv.ParseUint(string(h.Value), 10, 64)
		if err != nil {
			d.complain("header "+HeaderCommitLSN, "%.60q is no decimal LSN", h.Value)
		}
		d.event.CommitLSN = lsn
	}
}

// readOtherKey reads a key in a header. Connect writes headers by SimpleHeaderConverter, unless told
// otherwise, and what that writes of a row is JSON but for some values: see mended.
func (d *Decoder) readOtherKey(place string, key []byte, m *rowMemory) Row {
	row := d.readKey(place, key, m)
	first := d.problem
	if first == nil || d.tooLong(place, key) {
		return row
	}
	d.problem = nil
	if row = d.readKey(place, mended(key), m); d.problem != nil {
		d.problem = first
	}
	return row
}

// The texts and the other values in JSON, and the characters that it wants escaped.
var (
	literals = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|[^\s"{}\[\],:][^"{}\[\],]*`)
	controls = regexp.MustCompile(`[\x00-\x1f]`)
)

// mended is what Connect's Values.java wrote as JSON: it leaves control characters in texts as they
// are, and writes NaN and Connect's own dates and times (time.precision.mode=connect) without quotes.
func mended(text []byte) []byte {
	return literals.ReplaceAllFunc(text, func(value []byte) []byte {
		if json.Valid(value) {
			return value
		}
		if value[0] != '"' {
			value = fmt.Appendf(nil, `"%s"`, value)
		}
		return controls.ReplaceAllFunc(value, func(c []byte) []byte { return fmt.Appendf(nil, `\u%04x`, c) })
	})
}

// readKey reads a key, wrapped with its schema or not; a null key is a nil Row.
func (d *Decoder) readKey(place string, key []byte, m *rowMemory) Row {
	if len(key) == 0 || d.tooLong(place, key) {
		return nil
	}
	if b := m.last.find(key); b != nil {
		text := key[len(b.prefix):]
		d.reader.begin(text)
		if kind, err := d.reader.open(); err == nil && kind == '{' {
			row, err := d.readRow(m, b, place, 2)
			if err == nil && closed(text[d.reader.end():]) {
				return row
			}
		}
		d.problem = nil
	}
	d.reader.begin(key)
	kind, err := d.reader.open()
	var row Row
	if err == nil && kind == '{' {
		row, err = d.readRow(m, nil, place, 1)
	}
	switch {
	case err != nil:
		d.problem = syntaxError(place, key, err)
		return nil
	case kind != '{' && kind != 'n':
		d.complain(place, "is a JSON %s, not an object", kindName(bytes.TrimLeft(key, space)))
	}
	if after := trailing(place, key, d.reader.end()); after != nil {
		d.problem = after
	}
	if len(row) == 2 && d.problem == nil {
		schema, payload := row.Get("schema"), row.Get("payload")
		if schema != nil && payload != nil && isSchema(schema.Value) {
			return d.unwrapKey(place, key, m, schema.Value.raw, payload.Value.raw)
		}
	}
	return row
}

// unwrapKey reads the row beside a schema block.
func (d *Decoder) unwrapKey(place string, key []byte, m *rowMemory, schema, payload []byte) Row {
	b, err := keyBlocks.get(schema)
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
	m.last.learn(key, b)
	d.reader.begin(payload)
	row := Row(nil)
	if _, err = d.reader.open(); err == nil {
		row, err = d.readRow(m, b, place, 2)
	}
	if err != nil {
		d.problem = syntaxError(place, payload, err)
	}
	return row
}

// isSchema tells a schema block from a primary-key column that is called schema: no column's value
// is such an object, and none is null.
func isSchema(v Value) bool {
	return v.Kind() == Null || v.Kind() == Object && v.Member("type").Kind() == String
}

// closed: of a wrapped record, only the end of its object is left.
func closed(text []byte) bool {
	rest, found := bytes.CutPrefix(bytes.TrimLeft(text, space), []byte("}"))
	return found && len(bytes.TrimLeft(rest, space)) == 0
}
