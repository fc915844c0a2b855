package connector

import "strings"

// elements reads PostgreSQL's text of an array ({1,NULL,"a \"b\""}, {{1,2},{3,4}}, [0:1]={1,2});
// other text is returned unchanged.
func (k kind) elements(text string) any {
	element := kind{oid: k.oid, typmod: k.typmod}
	r := arrayReader{rest: text, element: element}
	if strings.HasPrefix(text, "[") {
		_, after, ok := strings.Cut(text, "]=")
		if !ok {
			return text
		}
		r.rest = after
	}
	const deepest = 6 // PostgreSQL's MAXDIM
	array, ok := r.array(deepest)
	if !ok || r.rest != "" {
		return text
	}
	return array
}

type arrayReader struct {
	rest    string
	element kind
}

// array reads a pair of braces with the elements inside.
func (r *arrayReader) array(depth int) ([]any, bool) {
	array := []any{}
	if depth == 0 || !r.skip('{') {
		return nil, false
	}
	if r.skip('}') {
		return array, true
	}
	for {
		value, ok := r.value(depth)
		if !ok {
			return nil, false
		}
		array = append(array, value)
		switch {
		case r.skip('}'):
			return array, true
		case !r.skip(','):
			return nil, false
		}
	}
}

func (r *arrayReader) value(depth int) (any, bool) {
	if strings.HasPrefix(r.rest, "{") {
		return r.array(depth - 1)
	}
	if r.skip('"') {
		text, ok := r.quoted()
		return r.element.value(text), ok
	}
	end := strings.IndexAny(r.rest, ",}")
	if end <= 0 {
		return nil, false
	}
	text := r.rest[:end]
	r.rest = r.rest[end:]
	if text == "NULL" {
		return nil, true
	}
	return r.element.value(text), true
}

// quoted reads up to the closing quote; a backslash takes the next byte literally.
func (r *arrayReader) quoted() (string, bool) {
	var text strings.Builder
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; c {
		case '"':
			r.rest = r.rest[i+1:]
			return text.String(), true
		case '\\':
			if i++; i == len(r.rest) {
				return "", false
			}
			text.WriteByte(r.rest[i])
		default:
			text.WriteByte(c)
		}
	}
	return "", false
}

func (r *arrayReader) skip(c byte) bool {
	if r.rest == "" || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}
