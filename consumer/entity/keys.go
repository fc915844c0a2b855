package entity

import (
	"fmt"
	"unicode/utf8"

	"github.com/cdclab/cdclab/consumer/debezium"
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

// appendKey appends the text of a key: of the Spec's column, or of all columns, which is a JSON array
// of texts where they are several.
func (t *Table) appendKey(w *writer, dst []byte, key debezium.Row, like debezium.Row) ([]byte, error) {
	if len(key) == 0 {
		return dst, t.keyErrorf("has a row without a key: it needs a primary key")
	}
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

func (t *Table) appendKeyCell(w *writer, dst []byte, cell *debezium.Cell, like debezium.Row) ([]byte, error) {
	if cell.Value.Kind() == debezium.Null {
		return dst, t.keyErrorf("has a null in its key column %s", cell.Name)
	}
	typ := cell.Type
	if typ == nil && like != nil {
		if typed := like.Get(cell.Name); typed != nil {
			typ = typed.Type
		}
	}
	return w.keyText(dst, t.fields[cell.Name], typ, cell.Value), nil
}

// keyText appends the text by which a value names a row: it is the same however a snapshot, the
// stream or another table's reference writes it.
func (w *writer) keyText(dst []byte, f *field, t *debezium.Type, v debezium.Value) []byte {
	var s scalar
	as := formOf(t)
	if f != nil {
		as, _ = formFor(f.Kind, t)
	}
	if as == asJSON || !w.read(as, t, v, &s) {
		if !w.plain(v, &s) {
			return dst
		}
	}
	switch {
	case s.is == isBytes && v.Kind() == debezium.String && as == asBase64:
		return append(dst, v.Text()...)
	case v.Kind() == debezium.Number && (as == asPlain || as == asInt || as == asFloat || as == asNumeric):
		return append(dst, v.Text()...)
	case s.is == isText && (as == asPlain || as.natural() == Timestamp):
		// Without a schema a timestamp is a text, and its digits differ between snapshot and stream; so
		// is one of Connect's own types in the header of a changed key.
		if at, dated, _ := parseZoned(s.text); dated && s.text[len(s.text)-1] == 'Z' {
			return at.appendISO(dst)
		}
	}
	return append(dst, w.textOf(&s)...)
}

// KeyText is the text of a key that is not the record's own, such as that in the header of a changed
// key: what Encoded.ID is of the record's. Columns without a type have that of the same column of
// like. The error is a *KeyError.
func (t *Table) KeyText(key, like debezium.Row) (string, error) {
	var w writer
	text, err := t.appendKey(&w, nil, key, like)
	return string(text), err
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
