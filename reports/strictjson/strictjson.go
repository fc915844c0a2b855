// Package strictjson holds JSON to the names of a Go type, where encoding/json is lenient, and lays
// JSON out for people. The package knows nothing of the meaning. Start reading at CheckNames.
package strictjson

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// CheckNames compares the names in valid JSON with the names of a Go type. An unknown and a missing
// member, a name twice, null, and a list or an object of more than maxItems are errors with the
// place, such as "stages[3].count: missing". A member with omitempty may be missing.
func CheckNames(text []byte, t reflect.Type, maxItems int) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if path, wrong := (walker{decoder, maxItems}).checkValue(t); wrong != "" {
		return fmt.Errorf("%s: %s", strings.TrimPrefix(path, "."), wrong)
	}
	return nil
}

// walker compares the names in valid JSON with the names of a Go type. encoding/json alone accepts
// a missing member, null for anything, a name twice, and names in another case. The walker keeps
// nothing of the JSON, so that hostile text asks for no memory.
type walker struct {
	*json.Decoder
	maxItems int
}

// checkValue reads the next value and returns the path inside the value, and what is wrong there,
// "" for nothing. A value of another kind than the type's is left to encoding/json.
func (w walker) checkValue(t reflect.Type) (path, wrong string) {
	token, _ := w.Token() // the syntax was checked before
	switch token {
	case nil:
		return "", "null"
	case json.Delim('['):
		return w.checkList(t)
	case json.Delim('{'):
		return w.checkObject(t)
	}
	if t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() {
		return "", "want a JSON object"
	}
	return "", ""
}

func (w walker) checkList(t reflect.Type) (path, wrong string) {
	if t.Kind() == reflect.Struct {
		return "", "want a JSON object"
	}
	if t.Kind() != reflect.Slice {
		return "", "want no list"
	}
	for i := 0; w.More(); i++ {
		if i == w.maxItems {
			return "", fmt.Sprintf("more than %d items", w.maxItems)
		}
		if path, wrong := w.checkValue(t.Elem()); wrong != "" {
			return fmt.Sprintf("[%d]%s", i, path), wrong
		}
	}
	w.Token() // the end
	return "", ""
}

func (w walker) checkObject(t reflect.Type) (path, wrong string) {
	known, needed := members(t)
	seen := map[string]bool{}
	for w.More() {
		token, _ := w.Token()
		name, _ := token.(string)
		if seen[name] {
			return "." + name, "twice"
		}
		if seen[name] = true; len(seen) > w.maxItems {
			return "", fmt.Sprintf("more than %d members", w.maxItems)
		}
		member, is := known[name]
		if t.Kind() == reflect.Map {
			member, is = t.Elem(), true
		}
		if !is {
			var skipped json.RawMessage
			_ = w.Decode(&skipped)
			path, wrong = cmp.Or(path, "."+name), "unknown member"
			continue
		}
		if path, wrong := w.checkValue(member); wrong != "" {
			return "." + name + path, wrong
		}
	}
	w.Token() // the end
	for _, name := range needed {
		if !seen[name] { // perhaps the unknown one, in another case
			return "." + name, "missing"
		}
	}
	return path, wrong
}

// members are the types of a struct's members by name, and the names that may not be missing; none
// of another type.
func members(t reflect.Type) (known map[string]reflect.Type, needed []string) {
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return nil, nil
	}
	known = map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			continue
		}
		known[name] = field.Type
		if options != "omitempty" {
			needed = append(needed, name)
		}
	}
	return known, needed
}

// FillEmpty replaces nil slices and maps in a struct, and in the structs inside, by empty ones.
func FillEmpty(v reflect.Value) {
	for i := range v.NumField() {
		field := v.Field(i)
		switch {
		case field.Type() == reflect.TypeFor[time.Time]():
		case field.Kind() == reflect.Struct:
			FillEmpty(field)
		case field.Kind() == reflect.Slice && field.IsNil():
			field.Set(reflect.MakeSlice(field.Type(), 0, 0))
		case field.Kind() == reflect.Map && field.IsNil():
			field.Set(reflect.MakeMap(field.Type()))
		}
	}
}

// deepest is how deep a value may lie and still have lines of its own.
const deepest = 2

// JoinLines puts each object and list that lies deeper than the members of members on one line, of
// JSON indented by encoding/json. A list of objects has a line for each.
func JoinLines(text []byte) []byte {
	joined := make([]byte, 0, len(text))
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			joined = append(joined, c)
			i++
			c = text[i]
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case c == '\n' && depth > deepest:
			end := i + 1
			for text[end] == ' ' {
				end++
			}
			if depth == deepest+1 && text[end] == '{' {
				break
			}
			i = end - 1
			if text[end] == '}' || text[end] == ']' || joined[len(joined)-1] != ',' {
				continue
			}
			c = ' '
		}
		joined = append(joined, c)
	}
	return joined
}
