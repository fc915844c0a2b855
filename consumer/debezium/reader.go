package debezium

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// reader is a JSON tokenizer that begins anew without allocating. It checks the whole grammar: UTF-8,
// escapes, numbers. Whether names are unique is the caller's to check.
type reader struct {
	text []byte
	from bytes.Buffer // of the text: what the tokenizer reads without copying it
	json *jsontext.Decoder
}

func (r *reader) begin(text []byte) { r.reset(text, jsontext.AllowDuplicateNames(true)) }

// beginStrict is begin, and a name that is there twice is an error.
func (r *reader) beginStrict(text []byte) { r.reset(text, jsontext.AllowDuplicateNames(false)) }

func (r *reader) reset(text []byte, option jsontext.Options) {
	r.text, r.from = text, *bytes.NewBuffer(text)
	if r.json == nil {
		r.json = jsontext.NewDecoder(&r.from, option)
		return
	}
	r.json.Reset(&r.from, option)
}

// open reads the beginning of an object. Any other value it reads whole, and says its kind.
func (r *reader) open() (jsontext.Kind, error) {
	kind := r.json.PeekKind()
	if kind == '{' {
		_, err := r.json.ReadToken()
		return kind, err
	}
	_, err := r.json.ReadValue()
	return kind, err
}

// name reads the name of an object's next member, with its quotes; nil after the last.
func (r *reader) name() ([]byte, error) {
	// Peeking costs as much as reading, and a member that follows at once needs none.
	if end := r.end(); end < len(r.text) && (r.text[end] == ',' || r.text[end] == '"') {
		return r.json.ReadValue()
	}
	if r.json.PeekKind() == '}' {
		_, err := r.json.ReadToken()
		return nil, err
	}
	return r.json.ReadValue()
}

// value reads a member's value, not looking into it.
func (r *reader) value() ([]byte, error) { return r.json.ReadValue() }

// check looks into an object or array that is correct JSON: is a name there twice, does it nest
// deeper than so many levels? It stops at the first. To tell names costs memory: in a large text
// they are not looked at, and the last one of a name counts.
func (r *reader) check(text []byte, levels int) (twice, deep bool) {
	if len(text) > maxUnique {
		r.begin(text)
	} else {
		r.beginStrict(text)
	}
	for {
		if _, err := r.json.ReadToken(); err != nil {
			return r.end() < len(text), false // the grammar was checked: only a name can be wrong
		}
		if r.json.StackDepth() > levels {
			return false, true
		}
	}
}

// end is where the reader is in the text.
func (r *reader) end() int { return int(r.json.InputOffset()) }

// readers serve the Values, which look into themselves only when asked.
var readers = sync.Pool{New: func() any { return new(reader) }}

// maxUnique is the largest nested value, in bytes, whose names must be unique.
const maxUnique = 1 << 20

const space = " \t\r\n"

// syntaxError says in which byte of the text its JSON is bad, counted from 1.
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

// trailing complains of what follows the JSON value of a text.
func trailing(place string, text []byte, end int) *FormatError {
	if rest := bytes.TrimLeft(text[end:], space); len(rest) > 0 {
		return formatErrorf(place, "is bad JSON at byte %d: text after the end", len(text)-len(rest)+1)
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
