package debezium

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the JSON type of a Value.
type Kind uint8

// The kinds. A Value that is not there is Null.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Value is a JSON value. It refers to the record's bytes and to the Decoder's memory, and looks
// into them only when asked. Numbers keep every digit. The zero Value is Null.
type Value struct {
	raw []byte // correct JSON without space around it
	mem *memory
}

// memory is what the Values of an Event share.
type memory struct {
	text    []byte            // of unescaped strings
	cursors map[*byte]*cursor // of arrays, by their first byte
}

// cursor is where At was in an array.
type cursor struct {
	length       int // -1: not counted yet
	next, offset int // of the member that follows
}

// The memory that is kept from one Event to the next.
const (
	maxKeptText    = 1 << 20
	maxKeptCursors = 256
)

func (m *memory) reset() {
	m.text = m.text[:0]
	if cap(m.text) > maxKeptText {
		m.text = nil
	}
	if len(m.cursors) > 0 {
		m.cursors = nil
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

// Bool is whether it is true.
func (v Value) Bool() bool { return len(v.raw) > 0 && v.raw[0] == 't' }

// Text is the content of a String, unescaped, or the literal of a Number; nil for other kinds. It is
// not to be changed.
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

// Int is a Number as int64; false where it is none, or has a fraction or too many digits.
func (v Value) Int() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// Len is the number of an Array's or an Object's members.
func (v Value) Len() int {
	n := 0
	switch v.Kind() {
	case Array:
		c := v.mem.cursor(v.raw)
		if c.length < 0 {
			for range v.Items() {
				n++
			}
			c.length = n
		}
		return c.length
	case Object:
		v.Each(func([]byte, Value) { n++ })
	}
	return n
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
			raw, err := r.value()
			if err != nil || !yield(Value{raw, v.mem}) {
				return
			}
		}
	}
}

// At is an Array's i-th member, a Null where there is none. It is quick for one after the other.
func (v Value) At(i int) Value {
	if v.Kind() != Array || i < 0 {
		return Value{}
	}
	c := v.mem.cursor(v.raw)
	if i < c.next {
		c.next, c.offset = 0, 1
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	for {
		text := v.raw[c.offset:]
		r.begin(text)
		raw, err := r.value()
		if err != nil { // the array's end
			return Value{}
		}
		rest := bytes.TrimLeft(text[r.end():], space)
		c.offset = len(v.raw) - len(bytes.TrimPrefix(rest, []byte(",")))
		c.next++
		if c.next > i {
			return Value{raw, v.mem}
		}
	}
}

func (m *memory) cursor(array []byte) *cursor {
	c := m.cursors[&array[0]]
	if c == nil {
		c = &cursor{length: -1, offset: 1}
		if m.cursors == nil || len(m.cursors) >= maxKeptCursors {
			m.cursors = map[*byte]*cursor{}
		}
		m.cursors[&array[0]] = c
	}
	return c
}

// Member is an Object's member of the name; a Null where there is none.
func (v Value) Member(name string) (found Value) {
	v.Each(func(n []byte, member Value) {
		if string(n) == name {
			found = member
		}
	})
	return found
}

// Each visits an Object's members in their order. A name is valid as long as the Value is.
func (v Value) Each(visit func(name []byte, member Value)) {
	if v.Kind() != Object {
		return
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.begin(v.raw)
	if _, err := r.open(); err != nil {
		return
	}
	for {
		quoted, err := r.name()
		if quoted == nil || err != nil {
			return
		}
		name := Value{quoted, v.mem}.Text()
		raw, err := r.value()
		if err != nil {
			return
		}
		visit(name, Value{raw, v.mem})
	}
}

// AppendJSON appends the value as JSON, as it came.
func (v Value) AppendJSON(dst []byte) []byte {
	if len(v.raw) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, v.raw...)
}

// ParseValue reads one JSON value: for tests, and for what is JSON inside a text. A name that is
// there twice is an error.
func ParseValue(text string) (Value, error) {
	var r reader
	data := []byte(text)
	r.beginStrict(data)
	raw, err := r.value()
	if err != nil {
		return Value{}, fmt.Errorf("parse a JSON value: %w", err)
	}
	if after := trailing("the JSON value", data, r.end()); after != nil {
		return Value{}, after
	}
	return Value{raw, &memory{}}, nil
}
