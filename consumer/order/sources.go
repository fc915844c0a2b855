package order

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/fate"
)

// Sources remembers, for all partitions of a process, the database of each table, and the topic
// prefixes. Two sources with one table must not share documents, because their positions do not
// compare. Sources is safe for concurrent use.
type Sources struct {
	mu sync.Mutex
	of map[string]*tableSource // by the ID of the kept document
	// turns counts the prefixes that took over.
	turns  atomic.Int64
	topics map[string]Topic
}

// Topic is what is known of the tables in a topic, because the name of a topic does not tell the
// table where Debezium replaced characters or a transformation renamed the topic.
type Topic struct {
	Schema, Table string // of the first event; "" where none came
	Several       bool   // true if another table's event came, too
}

// tableSource is the database of a table, and the topic prefix, where a new prefix takes over.
type tableSource struct {
	db, prefix string
	left       map[string]bool // prefixes before
}

// Turns changes with every prefix that takes over a table: until then a source found right is
// right.
func (t *Sources) Turns() int64 { return t.turns.Load() }

// Refuse returns the rejection of an event of another source than the table's; nil for an event of
// the table's. The first database to come is the table's, in an epoch. The error is the store's.
func (t *Sources) Refuse(ctx context.Context, s documents.Store, epoch, collection, table, db,
	prefix string) (rejection, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := "source/" + epoch + "/" + collection + "/" + table
	known := t.of[id]
	if known == nil {
		if err := s.Keep(ctx, documents.AsDocument(bsoncore.AppendStringElement(
			bsoncore.AppendStringElement(nil, "_id", id), "db", db))); err != nil {
			return nil, fmt.Errorf("keep the table's source: %w", err)
		}
		found, err := s.Find(ctx, documents.KeptCollection, []string{id})
		if err != nil {
			return nil, fmt.Errorf("look for the table's source: %w", err)
		}
		first, _ := found[id].Lookup("db").StringValueOK()
		known = &tableSource{db: cmp.Or(first, db), prefix: prefix, left: map[string]bool{}}
		if t.of == nil {
			t.of = map[string]*tableSource{}
		}
		t.of[id] = known
	}
	switch {
	case db != known.db:
		return fate.Rejectf(fate.RuleSource, "the table %s of the database %q has documents here:"+
			" the table of %q needs another --database, or --group and --topics of its own", table,
			known.db, db), nil
	case prefix == known.prefix || prefix == "":
	case known.left[prefix]:
		return fate.Rejectf(fate.RuleSource, "the table %s comes from the prefix %q now, and from"+
			" %q again: two connectors with one table need a --database each", table, known.prefix,
			prefix), nil
	default:
		known.left[known.prefix], known.prefix = true, prefix
		t.turns.Add(1)
	}
	return nil, nil
}

// TopicOf returns what is known of a topic, also from before a restart. The error is the store's.
func (t *Sources) TopicOf(ctx context.Context, s documents.Store, topic string) (Topic, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, there := t.topics[topic]; there {
		return known, nil
	}
	found, err := s.Find(ctx, documents.KeptCollection, topicIDs(topic))
	if err != nil {
		return Topic{}, fmt.Errorf("look for the topic's table: %w", err)
	}
	var known Topic
	ids := topicIDs(topic)
	known.Schema, _ = found[ids[0]].Lookup("schema").StringValueOK()
	known.Table, _ = found[ids[0]].Lookup("table").StringValueOK()
	_, known.Several = found[ids[1]]
	if known.Table != "" {
		t.rememberTopic(topic, known)
	}
	return known, nil
}

// topicIDs returns the kept documents of a topic: the first table, and the mark of several tables.
func topicIDs(topic string) []string { return []string{"table/" + topic, "tables/" + topic} }

func (t *Sources) rememberTopic(topic string, known Topic) {
	if t.topics == nil {
		t.topics = map[string]Topic{}
	}
	t.topics[topic] = known
}

// NoteTable notes that a topic has events of a table. The error is the store's.
func (t *Sources) NoteTable(ctx context.Context, s documents.Store, topic, schema,
	table string) error {
	known, err := t.TopicOf(ctx, s, topic)
	if err != nil || known.Schema == schema && known.Table == table || known.Several {
		return err
	}
	id, mark := topicIDs(topic)[0], known.Table != ""
	if mark {
		id = topicIDs(topic)[1]
	}
	kept := bsoncore.AppendStringElement(nil, "_id", id)
	kept = bsoncore.AppendStringElement(kept, "schema", schema)
	kept = bsoncore.AppendStringElement(kept, "table", table)
	if err := s.Keep(ctx, documents.AsDocument(kept)); err != nil {
		return fmt.Errorf("keep the topic's table: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known.Several = mark; !mark {
		known.Schema, known.Table = schema, table
	}
	t.rememberTopic(topic, known)
	return nil
}
