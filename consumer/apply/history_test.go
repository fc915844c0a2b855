package apply

import (
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
)

// rowKey names a row of the source.
type rowKey struct {
	entity string
	id     int
}

// sourceRow is a row's content: version is the commit of the write, large a value that an update
// may leave alone, parent the referenced row.
type sourceRow struct {
	version int
	large   string
	parent  int
}

// source is a PostgreSQL of four tables with foreign keys, and the log as told by Debezium.
type source struct {
	t       *rapid.T
	full    bool // REPLICA IDENTITY FULL
	rows    map[rowKey]sourceRow
	commit  int
	lsn     uint64
	emitted []*kgo.Record // in the order of the log
	// was is every state of every row, by position; nil at the position of the row's end.
	was map[rowKey]map[string]*sourceRow
	log map[topicPartition][]*kgo.Record // Kafka's records, with replays
}

type topicPartition struct {
	topic  string
	number int32
}

const idsOfEach = 3

func newSource(t *rapid.T) *source {
	return &source{t: t, full: rapid.Bool().Draw(t, "full identity"), rows: map[rowKey]sourceRow{},
		was: map[rowKey]map[string]*sourceRow{}, log: map[topicPartition][]*kgo.Record{}}
}

var parentOf = map[string]string{"address": "customer", "order": "customer", "order_item": "order"}

// draw makes a history of some commits, and sends the end of the log again now and then, like a
// connector killed before saving the offset.
func (s *source) draw() {
	for range rapid.IntRange(1, 14).Draw(s.t, "commits") {
		s.commit++
		s.lsn = uint64(1<<20 - 64*s.commit) // plain places in the log go back from commit to commit
		for range rapid.IntRange(1, 3).Draw(s.t, "changes") {
			s.change()
		}
		if len(s.emitted) > 0 && rapid.IntRange(0, 5).Draw(s.t, "replay") == 0 {
			from := rapid.IntRange(0, len(s.emitted)-1).Draw(s.t, "from")
			if from > 0 && s.emitted[from].Value == nil {
				from-- // a connector sends a null record with its delete
			}
			for _, r := range s.emitted[from:] {
				s.send(r)
			}
		}
	}
}

func (s *source) send(r *kgo.Record) {
	again := *r
	at := topicPartition{r.Topic, r.Partition}
	again.Offset = int64(len(s.log[at]))
	s.log[at] = append(s.log[at], &again)
}

func (s *source) change() {
	entity := rapid.SampledFrom([]string{"customer", "address", "order", "order_item"}).Draw(s.t,
		"entity")
	key := rowKey{entity, rapid.IntRange(1, idsOfEach).Draw(s.t, "id")}
	row, exists := s.rows[key]
	parent, has := s.aParent(entity)
	if !has {
		return
	}
	next := sourceRow{s.commit, fmt.Sprint("large@", s.commit), parent}
	switch kind := rapid.IntRange(0, 9).Draw(s.t, "kind"); {
	case !exists:
		s.emit(key, debezium.Create, nil, &next, false)
	case kind <= 1:
		s.remove(key)
	case kind == 2 && len(s.children(key)) == 0:
		s.rekey(key, row)
	case kind <= 5: // the large value is left alone
		next.large = row.large
		s.emit(key, debezium.Update, &row, &next, true)
	case kind <= 8:
		next.parent = row.parent
		s.emit(key, debezium.Update, &row, &next, false)
	default:
		s.emit(key, debezium.Update, &row, &next, false)
	}
}

// aParent draws a row to refer to; false where there is none.
func (s *source) aParent(entity string) (int, bool) {
	of, refers := parentOf[entity]
	if !refers {
		return 0, true
	}
	var ids []int
	for key := range s.rows {
		if key.entity == of {
			ids = append(ids, key.id)
		}
	}
	if len(ids) == 0 {
		return 0, false
	}
	slices.Sort(ids)
	return rapid.SampledFrom(ids).Draw(s.t, "parent"), true
}

func (s *source) children(key rowKey) []rowKey {
	var all []rowKey
	for other, row := range s.rows {
		if parentOf[other.entity] == key.entity && row.parent == key.id {
			all = append(all, other)
		}
	}
	slices.SortFunc(all, func(a, b rowKey) int {
		return slices.Compare([]int{len(a.entity), a.id}, []int{len(b.entity), b.id})
	})
	return all
}

// remove deletes a row and, before, the rows referring to the row.
func (s *source) remove(key rowKey) {
	for _, child := range s.children(key) {
		s.remove(child)
	}
	row := s.rows[key]
	s.emit(key, debezium.Delete, &row, nil, false)
}

// rekey changes the primary key: a delete and a create at the same place in the log. The large
// value is not sent under the default identity.
func (s *source) rekey(key rowKey, row sourceRow) {
	to := rowKey{key.entity, idsOfEach + rapid.IntRange(1, 2).Draw(s.t, "new id")}
	if _, taken := s.rows[to]; taken {
		return
	}
	next := row
	next.version = s.commit
	header := func(name string, id int) {
		last := s.emitted[len(s.emitted)-1]
		last.Headers = append(last.Headers,
			kgo.RecordHeader{Key: name, Value: fmt.Appendf(nil, `{"id":%q}`,
				consumertest.UUID(id))})
	}
	s.lsn++
	s.record(key, debezium.Delete, &row, nil, false)
	header(debezium.HeaderNewKey, to.id)
	s.send(s.emitted[len(s.emitted)-1])
	s.record(to, debezium.Create, nil, &next, !s.full)
	header(debezium.HeaderOldKey, key.id)
	s.send(s.emitted[len(s.emitted)-1])
}

func (s *source) emit(key rowKey, op debezium.Op, before, after *sourceRow, unchanged bool) {
	s.lsn++
	s.record(key, op, before, after, unchanged && !s.full)
	s.send(s.emitted[len(s.emitted)-1])
	if op == debezium.Delete {
		s.emitted = append(s.emitted, &kgo.Record{Topic: "cdc.public." + key.entity,
			Partition: int32(key.id % 2), Key: s.emitted[len(s.emitted)-1].Key,
			Timestamp: consumertest.Time})
		s.send(s.emitted[len(s.emitted)-1])
	}
}

// record applies the change to the rows and appends the event.
func (s *source) record(key rowKey, op debezium.Op, before, after *sourceRow, left bool) {
	position := fmt.Sprintf("0000%016x%016x", s.commit, s.lsn)
	if s.was[key] == nil {
		s.was[key] = map[string]*sourceRow{}
	}
	s.was[key][position] = after
	if delete(s.rows, key); after != nil {
		s.rows[key] = *after
	}
	var old []debezium.Column
	switch {
	case before == nil:
	case s.full:
		old = key.columns(before, false)
	case op == debezium.Delete:
		old = key.fallbacks()
	}
	var new []debezium.Column
	if after != nil {
		new = key.columns(after, left)
	}
	change := consumertest.ChangeOf(key.entity, op, s.commit,
		consumertest.Columns("id", consumertest.UUID(key.id)), old, new)
	change.Source.LSN = s.lsn
	r := consumertest.Wire(change, s.commit)
	r.Partition = int32(key.id % 2)
	s.emitted = append(s.emitted, r)
}

// columns are the row's; left: the large value is Debezium's placeholder.
func (k rowKey) columns(row *sourceRow, left bool) []debezium.Column {
	large := row.large
	if left {
		large = debezium.Unavailable
	}
	at := "2026-11-22T07:55:47.954888Z"
	switch k.entity {
	case "customer":
		if !left {
			large += "@example.org"
			large = "a" + large[len("large@"):]
		}
		return consumertest.Columns("id", consumertest.UUID(k.id), "email", large, "status",
			"active", "updated_at", at,
			"lab_version", int64(row.version))
	case "address":
		return consumertest.Columns("id", consumertest.UUID(k.id), "customer_id",
			consumertest.UUID(row.parent), "type", "home", "street", large,
			"is_default", true, "updated_at", at, "lab_version", int64(row.version))
	case "order":
		return consumertest.Columns("id", consumertest.UUID(k.id), "customer_id",
			consumertest.UUID(row.parent), "status", "pending",
			"total_amount", "1.50", "created_at", at, "updated_at", at, "note", large,
			"lab_version", int64(row.version))
	}
	return consumertest.Columns("id", consumertest.UUID(k.id), "order_id",
		consumertest.UUID(row.parent), "product_sku", "SKU", "product_name", large,
		"quantity", int64(2), "unit_price", "1.50", "line_total", "3.00", "lab_version",
		int64(row.version))
}

// fallbacks are the before of a delete under the default identity: the key and made-up values.
func (k rowKey) fallbacks() []debezium.Column {
	row := k.columns(&sourceRow{large: "large@"}, true)
	for i := range row[1:] {
		switch row[i+1].Value.(type) {
		case string:
			row[i+1].Value = ""
		case int64:
			row[i+1].Value = int64(0)
		case bool:
			row[i+1].Value = false
		}
	}
	return row
}

// shown returns the row's content in a document.
func (k rowKey) shown(row *sourceRow) map[string]any {
	want := map[string]any{"labVersion": int64(row.version)}
	for _, c := range k.columns(row, false) {
		switch c.Name {
		case "email", "street", "note":
			want[c.Name] = c.Value
		case "product_name":
			want["productName"] = c.Value
		case "customer_id":
			want["customerId"] = c.Value
		case "order_id":
			want["orderId"] = c.Value
		}
	}
	return want
}

func (s *source) partitions() []topicPartition {
	return slices.SortedFunc(maps.Keys(s.log), func(a, b topicPartition) int {
		return slices.Compare([]byte(fmt.Sprint(a)), []byte(fmt.Sprint(b)))
	})
}
