package debezium

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// rowMemory takes the rows of one place (before, after, the key), one after the other. The last
// row's names are the guess for the next row's.
type rowMemory struct {
	cells Row
	sound int    // so many of the cells have different names
	block *block // whose Types the cells have
	last  blocks
}

// maxColumns is above PostgreSQL's 1600.
const maxColumns = 4096

// readColumns reads the members of an object whose beginning was read.
func (d *Decoder) readColumns(m *rowMemory, b *block, place string, depth int) (Row, error) {
	sound, typed, doubt := m.sound, m.block == b, false
	m.sound, m.block = 0, b
	if m.cells == nil {
		m.cells = make(Row, 0, 16)
	}
	n, escaped := 0, false
	for {
		name, err := d.reader.readMemberName()
		if err != nil {
			return nil, err
		}
		if name == nil {
			break
		}
		raw, err := d.reader.readRawValue()
		if err != nil {
			return nil, err
		}
		if n == maxColumns {
			d.complain(place, "has more than %d columns", maxColumns)
			continue
		}
		if n == len(m.cells) {
			m.cells = append(m.cells, Cell{})
		}
		cell := &m.cells[n]
		if known := n < sound && string(name[1:len(name)-1]) == cell.Name; !known || !typed {
			if !known {
				doubt = true
				cell.Name = d.unquoteText(name, "")
				if len(cell.Name) > maxNameLength {
					d.complain(place, "has a column with a name of %d bytes, at most %d",
						len(cell.Name), maxNameLength)
				}
				escaped = escaped || strings.IndexByte(cell.Name, '\\') >= 0
			}
			cell.Type = b.typeOfColumn(cell.Name)
		}
		cell.Value = Value{raw, &d.memory}
		if raw[0] == '{' || raw[0] == '[' {
			d.checkNested(raw, place, cell.Name, depth)
		}
		n++
	}
	row := m.cells[:n:n]
	if doubt && d.refuseDuplicates(row, place) {
		return row, nil
	}
	if !escaped { // else a name in the record's spelling could be mistaken for another
		m.sound = n
	}
	return row, nil
}

// refuseDuplicates complains of a row with two columns of the same name.
func (d *Decoder) refuseDuplicates(row Row, place string) bool {
	if d.seen == nil || len(d.seen) > maxNames {
		d.seen = map[string]bool{}
	}
	clear(d.seen)
	for i := range row {
		if d.seen[row[i].Name] = true; len(d.seen) <= i {
			d.complain(place+"."+row[i].Name, "is there twice")
			return true
		}
	}
	return false
}

// checkNested complains of a duplicate name in an object or array, or of nesting too deep. The
// value stands below depth others.
func (d *Decoder) checkNested(raw []byte, place, name string, depth int) {
	objects := bytes.Count(raw, []byte("{"))
	if objects == 0 && depth+bytes.Count(raw, []byte("[")) <= d.depthLimit() {
		return
	}
	twice, deep := d.inner.checkMembers(raw, d.depthLimit()-depth)
	if name != "" && (twice || deep) {
		place += "." + name
	}
	switch {
	case deep:
		d.complain(place, "nests deeper than %d levels", d.depthLimit())
	case twice:
		d.complain(place, "has a member twice")
	}
}

// quotedEquals compares a name in quotes with a text.
func quotedEquals(quoted []byte, text string) bool {
	return len(quoted) == len(text)+2 && string(quoted[1:len(quoted)-1]) == text &&
		bytes.IndexByte(quoted, '\\') < 0
}

// The limits of the names and texts kept by a Decoder, so that equal texts are not allocated again.
// A column's name is no longer: PostgreSQL's names have at most 63 bytes.
const (
	maxNames      = 4096
	maxNameLength = 256
)

// unquoteText returns the content of a JSON string, and an equal guess itself, so that nothing is
// allocated.
func (d *Decoder) unquoteText(quoted []byte, guess string) string {
	if quotedEquals(quoted, guess) {
		return guess
	}
	plain := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(plain, '\\') >= 0 {
		plain, _ = jsontext.AppendUnquote(nil, quoted)
	}
	if kept, ok := d.names[string(plain)]; ok {
		return kept
	}
	text := string(plain)
	if len(text) > maxNameLength {
		return text
	}
	if d.names == nil {
		d.names = map[string]string{}
	} else if len(d.names) >= maxNames {
		clear(d.names)
	}
	d.names[text] = text
	return text
}
