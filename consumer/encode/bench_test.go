package encode

import (
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// BenchmarkEncode: rows of ten columns, with a Spec and without, with schemas and without.
func BenchmarkEncode(b *testing.B) {
	const row = `{"id":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",` +
		`"customer_id":"b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","status":"paid",` +
		`"total_amount":"1234.50","created_at":"2026-11-22T07:55:47.954888Z",` +
		`"updated_at":"2026-11-22T07:55:48.123Z","lab_version":12345,` +
		`"note":"a text of several words that is stored as it came","paid":true,"discount":1.5}`
	types := map[string]*debezium.Type{
		"id":          debeziumType("string", "data.Uuid"),
		"customer_id": debeziumType("string", "data.Uuid"), "status": named("string", ""),
		"total_amount": named("string", ""),
		"created_at":   debeziumType("string", "time.ZonedTimestamp"),
		"updated_at":   debeziumType("string", "time.ZonedTimestamp"),
		"lab_version":  named("int64", ""), "note": named("string", ""),
		"paid": named("boolean", ""), "discount": named("double", ""),
	}
	r := NewTables(entity.Default())
	for _, c := range []struct {
		name  string
		table *Table
		types map[string]*debezium.Type
	}{
		{"spec/on", r.Table("public", "order"), types},
		{"spec/off", r.Table("public", "order"), nil},
		{"generic/on", r.Table("public", "other"), types},
		{"generic/off", r.Table("public", "another"), nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			event := change{op: debezium.Update,
				key: `{"id":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}`, after: row, types: c.types,
				commit: commit.UnixMicro()}.event(b)
			var encoder Encoder
			facts := Facts{Recorded: commit}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encoder.Encode(c.table, event, facts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
