package debezium

import (
	"bytes"
	"iter"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the JSON type of a Value.
type Kind uint8

// The kinds. An absent Value is Null.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Value is a JSON value. A Value refers to the record's bytes and to the Decoder's memory, and
// looks inside only when asked. Numbers keep every digit. The zero Value is Null.
type Value struct {
	raw []byte // correct JSON without space around it
	mem *memory
}

// memory is shared by the Values of an Event.
type memory struct {
	text []byte // of unescaped strings
}

// maxKeptText is the limit of the memory kept from Event to Event.
const maxKeptText = 1 << 20

func (m *memory) reset() {
	m.text = m.text[:0]
	if cap(m.text) > maxKeptText {
		m.text = nil
	}
}

// Kind is the value's JSON type.
func (v Value) Kind() Kind {
	if len(v.raw) == 0 {
		return Null
	}
	switch v.raw[0] {
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	case '"':
		return String
	case '[':
		return Array
	case '{':
		return Object
	}
	return Number
}

// Bool is true if the value is JSON's true.
func (v Value) Bool() bool { return len(v.raw) > 0 && v.raw[0] == 't' }

// Text is the content of a String, unescaped, or the literal of a Number; nil for other kinds. The
// bytes must not be changed.
func (v Value) Text() []byte {
	switch v.Kind() {
	case String:
		if bytes.IndexByte(v.raw, '\\') < 0 {
			return v.raw[1 : len(v.raw)-1]
		}
		return v.mem.unquote(v.raw)
	case Number:
		return v.raw
	}
	return nil
}

func (m *memory) unquote(quoted []byte) []byte {
	start := len(m.text)
	m.text, _ = jsontext.AppendUnquote(m.text, quoted)
	return m.text[start:len(m.text):len(m.text)]
}

// Int is a Number as int64; false for another kind, a fraction or too many digits.
func (v Value) Int() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// Items are an Array's members in their order.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != Array {
			return
		}
		r := readers.Get().(*reader)
		defer readers.Put(r)
		r.begin(v.raw)
		if _, err := r.json.ReadToken(); err != nil {
			return
		}
		for r.json.PeekKind() != ']' {
			raw, err := r.readRawValue()
			if err != nil || !yield(Value{raw, v.mem}) {
				return
			}
		}
	}
}

// Member is an Object's member of the name, the last where there are several; a Null where there is
// none.
func (v Value) Member(name string) (found Value) {
	for n, member := range v.Members() {
		if string(n) == name {
			found = member
		}
	}
	return found
}

// Members are an Object's members in their order, by name. A name is valid as long as the Value is.
func (v Value) Members() iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		if v.Kind() != Object {
			return
		}
		r := readers.Get().(*reader)
		defer readers.Put(r)
		r.begin(v.raw)
		if _, err := r.openObject(); err != nil {
			return
		}
		for {
			quoted, err := r.readMemberName()
			if quoted == nil || err != nil {
				return
			}
			name := Value{quoted, v.mem}.Text()
			raw, err := r.readRawValue()
			if err != nil || !yield(name, Value{raw, v.mem}) {
				return
			}
		}
	}
}

// AppendJSON appends the value's JSON unchanged.
func (v Value) AppendJSON(dst []byte) []byte {
	if len(v.raw) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, v.raw...)
}
