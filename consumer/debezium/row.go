package debezium

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// rowMemory is where the rows of one place (before, after, the key) are read into, one after the
// other. The names of the last row are the guess for the next one's.
type rowMemory struct {
	cells Row
	sound int    // so many of the cells have names that are all different
	block *block // whose Types the cells have
	last  blocks
}

// maxColumns is above PostgreSQL's 1600.
const maxColumns = 4096

// readRow reads the members of an object whose beginning was read.
func (d *Decoder) readRow(m *rowMemory, b *block, place string, depth int) (Row, error) {
	sound, typed, doubt := m.sound, m.block == b, false
	m.sound, m.block = 0, b
	if m.cells == nil {
		m.cells = make(Row, 0, 16)
	}
	n, escaped := 0, false
	for {
		name, err := d.reader.name()
		if err != nil {
			return nil, err
		}
		if name == nil {
			break
		}
		raw, err := d.reader.value()
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
				cell.Name = d.text(name, "")
				escaped = escaped || strings.IndexByte(cell.Name, '\\') >= 0
			}
			cell.Type = b.typeOf(cell.Name)
		}
		cell.Value = Value{raw, &d.memory}
		if raw[0] == '{' || raw[0] == '[' {
			d.checkNested(raw, place, cell.Name, depth)
		}
		n++
	}
	row := m.cells[:n:n]
	if doubt && d.twice(row, place) {
		return row, nil
	}
	if !escaped { // else a name as it stands in the record could be mistaken for another
		m.sound = n
	}
	return row, nil
}

// twice complains of a row with two columns of one name.
func (d *Decoder) twice(row Row, place string) bool {
	if d.seen == nil || len(d.seen) > maxNames {
		d.seen = map[string]bool{}
	}
	clear(d.seen)
	for i := range row {
		if d.seen[row[i].Name] {
			d.complain(place+"."+row[i].Name, "is there twice")
			return true
		}
		d.seen[row[i].Name] = true
	}
	return false
}

// checkNested complains of an object or array in which a name is twice, or that nests too deep: it
// stands below depth others.
func (d *Decoder) checkNested(raw []byte, place, name string, depth int) {
	objects := bytes.Count(raw, []byte("{"))
	if objects == 0 && depth+bytes.Count(raw, []byte("[")) <= d.maxDepth() {
		return
	}
	twice, deep := d.inner.check(raw, d.maxDepth()-depth)
	if name != "" && (twice || deep) {
		place += "." + name
	}
	switch {
	case deep:
		d.complain(place, "nests deeper than %d levels", d.maxDepth())
	case twice:
		d.complain(place, "has a member twice")
	}
}

// same compares a name in quotes with a text.
func same(quoted []byte, text string) bool {
	return len(quoted) == len(text)+2 && string(quoted[1:len(quoted)-1]) == text &&
		bytes.IndexByte(quoted, '\\') < 0
}

// The names and texts that a Decoder keeps, so that equal ones are not allocated again.
const (
	maxNames      = 4096
	maxNameLength = 256
)

// text is what a JSON string says: the guess, if it says that.
func (d *Decoder) text(quoted []byte, guess string) string {
	if same(quoted, guess) {
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
	if d.names == nil || len(d.names) >= maxNames {
		d.names = map[string]string{}
	}
	d.names[text] = text
	return text
}
