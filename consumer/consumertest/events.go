// Package consumertest holds the shared parts of the consumer's tests: events, a Kafka in this
// process, a MongoDB, and readers of metrics. Tests alone import the package. Start reading at
// events.go.
package consumertest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// UUID is an id for a person to tell from others.
func UUID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// Columns is a row in pairs of name and value.
func Columns(pairs ...any) []debezium.Column {
	var row []debezium.Column
	for i := 0; i < len(pairs); i += 2 {
		row = append(row, debezium.Column{Name: pairs[i].(string), Value: pairs[i+1]})
	}
	return row
}

// Record is the record of the lab's connector for a change of table, in the given commit.
func Record(table string, op debezium.Op, commit int, key, before,
	after []debezium.Column) *kgo.Record {
	return Wire(ChangeOf(table, op, commit, key, before, after), commit)
}

// ChangeOf returns the change of a row of a table, in the transaction of a number.
func ChangeOf(table string, op debezium.Op, commit int, key, before,
	after []debezium.Column) debezium.Change {
	return debezium.Change{
		Key: key, Before: before, After: after, Op: op, TsUs: Time.UnixMicro() + 2000,
		Source: debezium.Source{Connector: "postgresql", Name: "cdc", DB: "lab", Schema: "public",
			Table: table, TsUs: Time.UnixMicro() + 1000, LSN: uint64(1<<20 - commit), TxID: 7},
	}
}

// Wire returns the change as Debezium would have sent the change.
func Wire(change debezium.Change, commit int) *kgo.Record {
	value, err := change.AppendValue(nil)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{
		Topic: "cdc.public." + change.Source.Table, Key: change.AppendKey(nil), Value: value,
		Timestamp: Time,
		Headers: []kgo.RecordHeader{{Key: debezium.HeaderCommitLSN,
			Value: []byte(strconv.Itoa(commit))}},
	}
}

// Customer returns an event of a customer: email nil is no email.
func Customer(op debezium.Op, id, commit int, email any) *kgo.Record {
	key := Columns("id", UUID(id))
	if op == debezium.Delete {
		return Record("customer", op, commit, key,
			Columns("id", UUID(id), "email", "", "status", ""), nil)
	}
	return Record("customer", op, commit, key, nil, Columns("id", UUID(id), "email", email,
		"status", "active", "updated_at", "2026-11-22T07:55:47.954888Z", "lab_version",
		int64(commit)))
}

// ItemColumns returns the columns of an order item.
func ItemColumns(id, order, version int) []debezium.Column {
	return Columns("id", UUID(id), "order_id", UUID(order), "product_sku", "SKU-1",
		"product_name", "Thing", "quantity", int64(2), "unit_price", "1.50", "line_total", "3.00",
		"lab_version", int64(version))
}

// Item returns an event of an order item.
func Item(op debezium.Op, id, commit int, before, after []debezium.Column) *kgo.Record {
	return Record("order_item", op, commit, Columns("id", UUID(id)), before, after)
}

// OddRecords are records for a letter and a recording to keep to the byte.
func OddRecords() map[string]*kgo.Record {
	key, value := []byte(`{"id":1}`), []byte("\x00\xff{")
	return map[string]*kgo.Record{
		"plain":      {Key: key, Value: value},
		"null value": {Key: key},
		"null key":   {Value: value},
		"both null":  {},
		"both empty": {Key: []byte{}, Value: []byte{}},
		"null header": {Value: value, Headers: []kgo.RecordHeader{{Key: "h"},
			{Key: "h", Value: []byte{}}, {Key: ""}}},
		"twice": {Value: value, Headers: []kgo.RecordHeader{{Key: "h", Value: key},
			{Key: "h", Value: value}}},
	}
}

// Original is the part of a record a replay must bring back, null apart from empty.
type Original struct {
	Topic      string
	Partition  int32
	Timestamp  int64
	Key, Value []byte
	Headers    []kgo.RecordHeader
}

// OriginalOf returns the compared part of a record.
func OriginalOf(r *kgo.Record) Original {
	o := Original{r.Topic, r.Partition, r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers}
	if len(r.Headers) == 0 {
		o.Headers = nil
	}
	return o
}

// CustomerKeyChange is the delete and the create of a customer whose id changes in one commit,
// without the value of email, as under the default replica identity where email is a large value.
func CustomerKeyChange(from, to, commit int) (gone, made *kgo.Record) {
	gone, made = Customer(Remove, from, commit, nil),
		Customer(Insert, to, commit, debezium.Unavailable)
	header := func(r *kgo.Record, key string, id int) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key,
			Value: fmt.Appendf(nil, `{"id":%q}`, UUID(id))})
	}
	header(gone, debezium.HeaderNewKey, to)
	header(made, debezium.HeaderOldKey, from)
	return gone, made
}

// Time is when everything happens.
var Time = time.Date(2026, 11, 22, 7, 55, 47, 0, time.UTC)

// The operations of the tests' events.
const (
	Insert = debezium.Create
	Update = debezium.Update
	Remove = debezium.Delete
)

// TraceA is the id of a trace.
const TraceA = "0af7651916cd43dd8448eb211c80319c"

// Traced returns the record with a trace context in its headers.
func Traced(r *kgo.Record, id, flags string) *kgo.Record {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent",
		Value: []byte("00-" + id + "-b7ad6b7169203331-" + flags)})
	return r
}
