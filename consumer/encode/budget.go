package encode

import (
	"fmt"
	"strings"

	"github.com/cdclab/cdclab/consumer/entity"
)

// The bounds of an event's document: outputBase and outputFactor times the record, and at most
// outputMax, the size of MongoDB's largest document. PostgreSQL's values need a factor of up to 8:
// a bit string has a digit for each bit, an array of small numbers a name for each. A short number
// of 20000 decimal places has 650 times the bytes of its record.
const (
	outputBase   = 256 << 10
	outputFactor = 16
	outputMax    = 16 << 20
)

// The bounds of keys. PostgreSQL's index takes 32 columns, and 2704 bytes after compression.
const (
	keyMaxBytes   = 8 << 10
	keyMaxColumns = 64
)

// CutState returns the beginning of a stored value as a State's Value would have: no rule names a
// longer value.
func CutState(text string) string {
	if len(text) <= entity.StateMaxBytes {
		return text
	}
	return strings.Clone(text[:entity.StateMaxBytes])
}

// keptMax bounds the memory kept from event to event, in bytes, of which a SchemaChange takes
// changeBytes.
const (
	keptMax     = 1 << 20
	changeBytes = 96
)

// SizeError says that an event would become a document larger than Limit bytes.
type SizeError struct{ Limit int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("becomes more than %d bytes of a document", e.Limit)
}

// budget is the number of bytes left for the elements of an event.
type budget struct {
	limit int
	spent bool
}

// budgetOf returns the budget of a record of so many bytes. A size of 0 is not known.
func budgetOf(size int) budget {
	if size == 0 {
		return budget{limit: outputMax}
	}
	return budget{limit: min(outputBase+outputFactor*size, outputMax)}
}

// isSpent returns true from the first time that the elements are longer than the budget.
func (b *budget) isSpent(elements []byte) bool {
	if len(elements) > b.limit {
		b.spent = true
	}
	return b.spent
}
