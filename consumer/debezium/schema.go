package debezium

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// maxScale is beyond a numeric's 16383 digits after the point.
const maxScale = 20000

// block is a parsed schema block, shared by all Decoders and never changed.
type block struct {
	// prefix is the beginning of a record with the block, up to the payload, as JsonConverter
	// writes records.
	prefix string
	schema *Schema // nil where the block has no row
	types  map[string]*Type
}

func (b *block) typeOfColumn(column string) *Type {
	if b == nil {
		return nil
	}
	return b.types[column]
}

// The two ends of a block's prefix.
const (
	beforeBlock = `{"schema":`
	afterBlock  = `,"payload":`
)

// blocks are the blocks met last, the latest first: a partition can hold an old and a new schema
// in turns.
type blocks [8]*block

// findByPrefix returns the block at the beginning of a record.
func (bs *blocks) findByPrefix(record []byte) *block {
	for i, b := range bs {
		if b == nil {
			break
		}
		if len(record) > len(b.prefix) && string(record[:len(b.prefix)]) == b.prefix {
			copy(bs[1:i+1], bs[:i])
			bs[0] = b
			return b
		}
	}
	return nil
}

// learnBlock remembers a block short enough for a blockCache, if the record begins with the block's
// prefix.
func (bs *blocks) learnBlock(record []byte, b *block) {
	if len(b.prefix) <= maxBlockBytes && len(record) > len(b.prefix) &&
		string(record[:len(b.prefix)]) == b.prefix {
		copy(bs[1:], bs[:])
		bs[0] = b
	}
}

// blockCache has the blocks of all Decoders, so that equal blocks are one Schema.
type blockCache struct {
	parse  func(schema Value) (*block, error)
	mutex  sync.Mutex
	blocks map[string]*block // by the block's text
	bytes  int
}

// maxCachedBytes bounds the texts in a blockCache: more than 500 tables of 50 columns.
// maxBlockBytes bounds each.
const (
	maxCachedBytes = 8 << 20
	maxBlockBytes  = maxCachedBytes / 8
)

var (
	valueBlocks = blockCache{parse: parseValueBlock}
	keyBlocks   = blockCache{parse: parseRowBlock}
)

func (c *blockCache) getOrParse(text []byte) (*block, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if b, ok := c.blocks[string(text)]; ok {
		return b, nil
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	if twice, deep := r.checkMembers(text, DefaultMaxDepth); twice || deep {
		return nil, fmt.Errorf("it has a member twice (%t) or nests deeper than %d levels (%t)",
			twice, DefaultMaxDepth, deep)
	}
	schema, b := Value{text, &memory{}}, &block{}
	switch kind := schema.Kind(); kind {
	case Null:
	case Object:
		var err error
		if b, err = c.parse(schema); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("it is a JSON %s, not an object", kindName(text))
	}
	b.prefix = beforeBlock + string(text) + afterBlock
	if len(b.prefix) > maxBlockBytes {
		return b, nil
	}
	for other := range c.blocks {
		if c.bytes+len(text) <= maxCachedBytes {
			break
		}
		c.bytes -= len(other)
		delete(c.blocks, other)
	}
	if c.blocks == nil {
		c.blocks = map[string]*block{}
	}
	c.bytes += len(text)
	c.blocks[string(text)] = b
	return b, nil
}

// parseValueBlock finds the row in an envelope's schema: before and after have the same.
func parseValueBlock(envelope Value) (*block, error) {
	var row Value
	members := 0
	for field := range envelope.Member("fields").Items() {
		if members++; members > maxColumns {
			return nil, fmt.Errorf("it has more than %d fields", maxColumns)
		}
		switch string(field.Member("field").Text()) {
		case "after":
			row = field
		case "before":
			if row.Kind() == Null {
				row = field
			}
		}
	}
	if row.Kind() == Null {
		return &block{}, nil
	}
	return parseRowBlock(row)
}

// parseRowBlock reads the schema of a row.
func parseRowBlock(row Value) (*block, error) {
	b := &block{schema: &Schema{Name: string(row.Member("name").Text())}, types: map[string]*Type{}}
	for field := range row.Member("fields").Items() {
		name, t, err := columnType(field)
		switch {
		case err != nil:
			return nil, fmt.Errorf("column %.60s: %w", name, err)
		case name == "":
			return nil, errors.New("a column has no name")
		case b.types[name] != nil:
			return nil, fmt.Errorf("column %.60s is there twice", name)
		case len(b.types) == maxColumns:
			return nil, fmt.Errorf("it has more than %d columns", maxColumns)
		}
		b.types[name] = t
		b.schema.Columns = append(b.schema.Columns, SchemaColumn{name, t})
	}
	return b, nil
}

// columnType reads a schema written by JsonConverter.
func columnType(schema Value) (field string, t *Type, err error) {
	t = &Type{}
	for name, member := range schema.Members() {
		switch string(name) {
		case "field":
			field = string(member.Text())
		case "type":
			t.Connect = string(member.Text())
		case "name":
			t.Name = string(member.Text())
		case "optional":
			t.Optional = member.Bool()
		case "default":
			t.Default = string(member.AppendJSON(nil))
		case "parameters":
			t.Parameters = map[string]string{}
			for name, v := range member.Members() {
				t.Parameters[string(name)] = string(v.Text())
			}
		case "items":
			var itemErr error
			if _, t.Items, itemErr = columnType(member); err == nil {
				err = itemErr
			}
		}
	}
	if t.Name == ConnectDecimal {
		var scaleErr error
		t.Scale, scaleErr = strconv.Atoi(t.Parameters[ParameterScale])
		if scaleErr != nil || t.Scale > maxScale || t.Scale < -maxScale {
			return field, t, fmt.Errorf("%.20q is no scale", t.Parameters[ParameterScale])
		}
	}
	return field, t, err
}
