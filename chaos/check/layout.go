package check

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/entity"
)

// versionColumn holds the id of the row's last write.
const versionColumn = "lab_version"

// layout compares the records of one Spec.
type layout struct {
	spec *entity.Spec
	// members are the members compared by content, in the order of the Spec; reference is true for
	// a member with the key of another entity's row.
	members   []string
	reference []bool
	// version is the member of versionColumn, empty when the Spec has none.
	version string
	// parent is, for an embedded Spec, the member of the column that names the document.
	parent string
}

func newLayout(spec *entity.Spec) *layout {
	l := &layout{spec: spec}
	for _, f := range spec.Fields {
		member := f.Member()
		switch f.Column {
		case spec.Key:
			continue
		case versionColumn:
			l.version = member
			continue
		}
		if spec.Embed != nil && f.Column == spec.Embed.Parent {
			l.parent = member
		}
		l.members = append(l.members, member)
		l.reference = append(l.reference, slices.ContainsFunc(spec.References,
			func(r entity.Reference) bool { return r.Column == f.Column }))
	}
	return l
}

// columns are the table's columns to read: the key, the parent and every compared column.
func (l *layout) columns() []string {
	columns := []string{l.spec.Key}
	if l.spec.Embed != nil {
		columns = append(columns, l.spec.Embed.Parent)
	}
	for _, f := range l.spec.Fields {
		if !slices.Contains(columns, f.Column) {
			columns = append(columns, f.Column)
		}
	}
	return columns
}

// row makes the record of a row, given as PostgreSQL's texts by column.
func (l *layout) row(columns map[string]*string) (key string, r record, err error) {
	if columns[l.spec.Key] == nil {
		return "", record{}, fmt.Errorf("%s: a row without %s", l.spec.Table, l.spec.Key)
	}
	key = *columns[l.spec.Key]
	texts, err := l.spec.RowText(columns)
	if err == nil {
		r, err = l.record(texts)
	}
	if err != nil {
		return "", record{}, fmt.Errorf("%s %s: %w", l.spec.Table, key, err)
	}
	if e := l.spec.Embed; e != nil && columns[e.Parent] != nil {
		r.parent = *columns[e.Parent]
	}
	return key, r, nil
}

// sight makes the record of a document, or of an item in the document parent.
func (l *layout) sight(key, parent string, document bson.M) sight {
	s := sight{key: key, record: record{parent: parent}}
	own, _ := document["cdcMetadata"].(bson.M)
	if own["deleted"] == true {
		s.hidden = "a tombstone"
	} else if own["shell"] == true {
		s.hidden = "a shell"
	}
	texts, err := l.spec.DocumentText(document)
	if err == nil {
		// An item need not repeat the order's key.
		if l.parent != "" && texts[l.parent] == nil {
			texts[l.parent] = &parent
		}
		s.record, err = l.record(texts)
		s.parent = parent
	}
	if err != nil {
		s.malformed = err.Error()
	}
	return s
}

func (l *layout) record(texts map[string]*string) (record, error) {
	r := record{version: none}
	if text := texts[l.version]; text != nil {
		version, err := strconv.ParseInt(*text, 10, 64)
		if err != nil {
			return record{}, fmt.Errorf("%s: %w", l.version, err)
		}
		r.version = version
	}
	values := make([]*string, len(l.members))
	for n, member := range l.members {
		values[n] = texts[member]
	}
	r.content = pack(values)
	return r, nil
}

// packed is a list of texts, any of which may be absent, in one string: a million rows are held in
// memory, and a string for each value would cost more than the values.
type packed string

func pack(texts []*string) packed {
	var b []byte
	for _, t := range texts {
		if t == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(*t))+1)
		b = append(b, *t...)
	}
	return packed(b)
}

func (p packed) unpack() []*string {
	var texts []*string
	for rest := []byte(p); len(rest) > 0; {
		length, n := binary.Uvarint(rest)
		rest = rest[n:]
		if length == 0 {
			texts = append(texts, nil)
			continue
		}
		text := strings.Clone(string(rest[:length-1]))
		rest = rest[length-1:]
		texts = append(texts, &text)
	}
	return texts
}
