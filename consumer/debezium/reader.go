package debezium

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// reader is a JSON tokenizer that begins anew without allocating. A reader checks the whole
// grammar: UTF-8, escapes, numbers. The caller checks whether names are unique.
type reader struct {
	text []byte
	from bytes.Buffer // of the text, so that the tokenizer need not copy
	json *jsontext.Decoder
}

func (r *reader) begin(text []byte) { r.reset(text, jsontext.AllowDuplicateNames(true)) }

// beginStrict is begin, and a duplicate name is an error.
func (r *reader) beginStrict(text []byte) { r.reset(text, jsontext.AllowDuplicateNames(false)) }

func (r *reader) reset(text []byte, option jsontext.Options) {
	r.text, r.from = text, *bytes.NewBuffer(text)
	if r.json == nil {
		r.json = jsontext.NewDecoder(&r.from, option)
		return
	}
	r.json.Reset(&r.from, option)
}

// openObject reads the beginning of an object, or any other value whole, and returns the kind.
func (r *reader) openObject() (jsontext.Kind, error) {
	kind := r.json.PeekKind()
	if kind == '{' {
		_, err := r.json.ReadToken()
		return kind, err
	}
	_, err := r.json.ReadValue()
	return kind, err
}

// readMemberName reads the name of an object's next member, with the quotes; nil after the last.
func (r *reader) readMemberName() ([]byte, error) {
	// Peeking costs as much as reading, and a member at hand needs no peeking.
	if end := r.inputOffset(); end < len(r.text) && (r.text[end] == ',' || r.text[end] == '"') {
		return r.json.ReadValue()
	}
	if r.json.PeekKind() == '}' {
		_, err := r.json.ReadToken()
		return nil, err
	}
	return r.json.ReadValue()
}

// readRawValue reads a member's value without looking inside.
func (r *reader) readRawValue() ([]byte, error) { return r.json.ReadValue() }

// checkMembers looks into an object or array of correct JSON. twice is true if a name is there
// twice, deep if the nesting has more than so many levels; checkMembers stops at the first. Telling
// names apart costs memory: in a text larger than maxUnique duplicates are ignored, and the last
// member of a name counts.
func (r *reader) checkMembers(text []byte, levels int) (twice, deep bool) {
	if len(text) > maxUnique {
		r.begin(text)
	} else {
		r.beginStrict(text)
	}
	for {
		if _, err := r.json.ReadToken(); err != nil {
			// The grammar was checked: only a name can be wrong.
			return r.inputOffset() < len(text), false
		}
		if r.json.StackDepth() > levels {
			return false, true
		}
	}
}

// inputOffset is the reader's place in the text.
func (r *reader) inputOffset() int { return int(r.json.InputOffset()) }

// readers serve the Values, because a Value looks inside only when asked.
var readers = sync.Pool{New: func() any { return new(reader) }}

// maxUnique is the largest nested value, in bytes, whose names must be unique.
const maxUnique = 1 << 20

const space = " \t\r\n"

// syntaxError names the first bad byte of a JSON text, counted from 1.
func syntaxError(place string, text []byte, err error) *FormatError {
	var syntax *jsontext.SyntacticError
	switch {
	case !utf8.Valid(text):
		return formatErrorf(place, "is not UTF-8")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return formatErrorf(place, "is bad JSON at byte %d: it ends there", len(text))
	case errors.As(err, &syntax):
		return formatErrorf(place, "is bad JSON at byte %d: %v", syntax.ByteOffset+1, syntax.Err)
	}
	return formatErrorf(place, "cannot be read: %v", err)
}

// trailingError is the error of text behind the JSON value.
func trailingError(place string, text []byte, end int) *FormatError {
	if rest := bytes.TrimLeft(text[end:], space); len(rest) > 0 {
		at := len(text) - len(rest) + 1
		return formatErrorf(place, "is bad JSON at byte %d: text after the end", at)
	}
	return nil
}

// kindNames are for errors.
var kindNames = map[byte]string{
	'n': "null", 't': "bool", 'f': "bool", '"': "string", '[': "array", '{': "object",
}

func kindName(raw []byte) string {
	if name := kindNames[raw[0]]; name != "" {
		return name
	}
	return "number"
}
