package encode

import (
	"fmt"
	"unicode/utf8"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// KeyError says why an event has no usable key: its row can be no document.
type KeyError struct {
	// Table is schema.name.
	Table  string
	Reason string
}

func (e *KeyError) Error() string { return e.Table + " " + e.Reason }

func (t *Table) keyErrorf(format string, args ...any) error {
	return &KeyError{t.spec.Table, fmt.Sprintf(format, args...)}
}

// appendKey appends the text of a key. The key is the Spec's column, or else all columns: several
// columns are a JSON array of texts.
func (t *Table) appendKey(w *writer, dst []byte, key, like debezium.Row) ([]byte, error) {
	if len(key) == 0 {
		return dst, t.keyErrorf("has a row without a key: it needs a primary key")
	}
	if len(key) > keyMaxColumns {
		return dst, t.keyErrorf("has a key of %d columns, at most %d", len(key), keyMaxColumns)
	}
	from := len(dst)
	dst, err := t.appendKeyColumns(w, dst, key, like)
	if err != nil {
		return dst, err
	}
	if len(dst)-from > keyMaxBytes {
		return dst, t.longKey(dst[from:], "the key")
	}
	return dst, nil
}

// longKey returns the *KeyError of a text too long for a document's _id.
func (t *Table) longKey(text []byte, place string) error {
	return t.keyErrorf("has %d bytes in %s, at most %d", len(text), place, keyMaxBytes)
}

func (t *Table) appendKeyColumns(w *writer, dst []byte, key, like debezium.Row) ([]byte, error) {
	if t.spec.Key != "" {
		cell := key.Get(t.spec.Key)
		if cell == nil {
			return dst, t.keyErrorf("has a key without the column %s", t.spec.Key)
		}
		return t.appendKeyCell(w, dst, cell, like)
	}
	if len(key) == 1 {
		return t.appendKeyCell(w, dst, &key[0], like)
	}
	for i := range key {
		var room [64]byte
		text, err := t.appendKeyCell(w, room[:0], &key[i], like)
		if err != nil {
			return dst, err
		}
		separator := byte(',')
		if i == 0 {
			separator = '['
		}
		dst = appendQuoted(append(dst, separator), text)
	}
	return append(dst, ']'), nil
}

func (t *Table) appendKeyCell(w *writer, dst []byte, cell *debezium.Cell,
	like debezium.Row) ([]byte, error) {
	if cell.Value.Kind() == debezium.Null {
		return dst, t.keyErrorf("has a null in its key column %s", cell.Name)
	}
	typ := cell.Type
	if typ == nil && like != nil {
		if typed := like.Get(cell.Name); typed != nil {
			typ = typed.Type
		}
	}
	return w.appendKeyText(dst, t.formOfKey(cell.Name, typ), typ, cell.Value), nil
}

// formOfKey returns the form in which a column that names a row is read.
func (t *Table) formOfKey(column string, typ *debezium.Type) form {
	if f := t.fields[column]; f != nil {
		as, _ := formForField(f.Kind, typ)
		return as
	}
	return formOfType(typ)
}

// appendKeyText appends the text by which a value of the form and the type names a row. The text is
// the same in a snapshot, in the stream and in a reference from another table.
func (w *writer) appendKeyText(dst []byte, as form, t *debezium.Type, v debezium.Value) []byte {
	var s scalar
	if as == asJSON || !w.readScalar(as, t, v, &s) {
		if !w.readByJSONType(v, &s) {
			return dst
		}
	}
	switch {
	case s.is == isBytes && v.Kind() == debezium.String && as == asBase64:
		return append(dst, v.Text()...)
	case v.Kind() == debezium.Number &&
		(as == asPlain || as == asInt || as == asFloat || as == asNumeric):
		return append(dst, v.Text()...)
	case s.is == isText && (as == asPlain || as.naturalKind() == entity.Timestamp):
		// Without a schema a timestamp is a text, with other digits in a snapshot than in the
		// stream. So is a time of Connect's own types in the header of a changed key.
		if at, dated, _ := value.ParseZoned(s.text); dated && s.text[len(s.text)-1] == 'Z' {
			return at.AppendISO(dst)
		}
	}
	return append(dst, w.textOf(&s)...)
}

// KeyText returns the text of a key outside the record, for example in the header of a changed key.
// The text equals Encoded.ID of a record with the same key. Columns without a type have the type of
// the same column of like. The error is a *KeyError.
func (t *Table) KeyText(key, like debezium.Row) (string, error) {
	var w writer
	text, err := t.appendKey(&w, nil, key, like)
	return string(text), err
}

// OmittedKey says whether the key of an ended row, or the old key of a row, may stand for columns
// that PostgreSQL did not send: such a column is null or the fallback of its type. So it is where
// the replica identity is another index than the key's, or message.key.columns are not the
// identity. whole is true if each column is so and another column has a value, part if the columns
// that name the document are so in part, or the key beside those is not.
func (t *Table) OmittedKey(event *debezium.Event) (whole, part bool) {
	key := event.Key
	if event.Op != debezium.Delete {
		key = event.OldKey
	}
	fallbacks, named := t.OmittedParts(key)
	switch {
	case named == 0:
		return false, false
	case event.Op != debezium.Delete:
		return event.Comes && fallbacks == len(key), false
	case fallbacks < len(key):
		return false, true
	}
	return len(ToldColumns(event)) > 0, false
}

// OmittedParts returns how many columns of a key may stand for columns that PostgreSQL did not
// send, and how many of these name the document.
func (t *Table) OmittedParts(key debezium.Row) (all, named int) {
	for i := range key {
		if isFallback(&key[i]) {
			all++
			if t.spec.Key == "" || t.spec.Key == key[i].Name {
				named++
			}
		}
	}
	return all, named
}

// ToldColumns are the columns before the event that are neither null nor a fallback.
func ToldColumns(event *debezium.Event) debezium.Row {
	var told debezium.Row
	for i := range event.Before {
		c := &event.Before[i]
		if !isFallback(c) && !c.Value.UnavailableAs(c.Type) {
			told = append(told, *c)
		}
	}
	return told
}

// KnowsDefaults returns true if the event names the defaults of columns, so that ToldColumns are
// columns sent by PostgreSQL.
func KnowsDefaults(event *debezium.Event) bool {
	return len(event.Before) > 0 && event.Before[0].Type != nil
}

// fallbacks are the values that Debezium writes for a column that must not be null and was not
// sent. Source: JdbcValueConverters.java and PostgresValueConverter.java.
var fallbacks = map[string]bool{"null": true, "0": true, "0.0": true, "false": true, `""`: true,
	`"0"`: true, `"0.0"`: true, `"1970-01-01T00:00:00Z"`: true, `"1970-01-01"`: true,
	`"00:00:00Z"`: true, `"00:00:00"`: true, `"AA=="`: true, "[]": true, `"{}"`: true, "{}": true,
	`{"scale":0,"value":"AA=="}`: true, `"P0Y0M0DT0H0M0S"`: true,
	`"00000000-0000-0000-0000-000000000000"`: true}

func isFallback(c *debezium.Cell) bool {
	var room [64]byte
	text := c.Value.AppendJSON(room[:0])
	return fallbacks[string(text)] || c.Type != nil && c.Type.Default == string(text)
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends a text as JSON, always in the same way.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for len(text) > 0 {
		c := text[0]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRune(text)
			dst = utf8.AppendRune(dst, r)
			text = text[size:]
			continue
		}
		text = text[1:]
	}
	return append(dst, '"')
}
