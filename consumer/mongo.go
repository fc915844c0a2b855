package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/entity"
)

// mongoStore keeps rows in MongoDB. Acknowledged means by a majority.
type mongoStore struct {
	client   *mongo.Client
	database *mongo.Database
	config   Config
	registry *entity.Registry

	buffers  sync.Pool // of *[]byte, for commands
	mu       sync.Mutex
	prepared map[string]bool // collections with their indexes and view
}

func openMongo(config Config, registry *entity.Registry, m *metrics) (*mongoStore, error) {
	o, err := mongoOptions(config, m)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("--mongo-uri: %w", err)
	}
	return &mongoStore{client: client, database: client.Database(config.Database), config: config,
		registry: registry, prepared: map[string]bool{},
		buffers: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

func (m *mongoStore) close(ctx context.Context) error {
	if err := m.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("disconnect from MongoDB: %w", err)
	}
	return nil
}

func (m *mongoStore) ping(ctx context.Context) error {
	if err := m.client.Ping(ctx, nil); err != nil {
		return fmt.Errorf("ping MongoDB: %w", err)
	}
	return nil
}

// Limits of one update command: a message holds 48 MB, but its body is one document.
const (
	documentMaxBytes = 16 << 20
	commandMaxBytes  = 12 << 20
)

func (m *mongoStore) apply(ctx context.Context, writes []write) []outcome {
	outcomes := make([]outcome, len(writes))
	if len(writes) == 0 {
		return outcomes
	}
	collection, all := writes[0].collection, make([]int, 0, len(writes))
	var others map[string][]int
	for i := range writes {
		if c := writes[i].collection; c != collection {
			if others == nil {
				others = map[string][]int{}
			}
			others[c] = append(others[c], i)
			continue
		}
		all = append(all, i)
	}
	m.bulk(ctx, collection, writes, all, outcomes)
	for c, indexes := range others {
		m.bulk(ctx, c, writes, indexes, outcomes)
	}
	return outcomes
}

// bulk writes those of one collection. A duplicate _id has three meanings: the document is as new
// or newer (stale); another writer made it between our look and our insert (we may be newer, so
// try once more, without upsert); and there is the duplicate in another unique index, which is no
// matter of age at all.
func (m *mongoStore) bulk(ctx context.Context, collection string, writes []write, indexes []int,
	outcomes []outcome) {
	fail := func(indexes []int, err error) {
		for _, i := range indexes {
			outcomes[i].err = err
		}
	}
	if err := m.prepare(ctx, collection, writes[indexes[0]].table); err != nil {
		fail(indexes, err)
		return
	}
	for len(indexes) > 0 {
		var sent []int
		sent, _, indexes = m.command(ctx, collection, writes, indexes, true, outcomes)
		var again []int
		for _, i := range sent {
			if duplicateID(outcomes[i].err) {
				outcomes[i].err = nil
				again = append(again, i)
			}
		}
		for len(again) > 0 {
			var retried []int
			var matched int
			retried, matched, again = m.command(ctx, collection, writes, again, false, outcomes)
			for _, i := range retried {
				if outcomes[i].err == nil {
					// Which of them matched is not said; only the counts by operation depend on it.
					outcomes[i].stale = matched == 0
					matched = max(matched-1, 0)
				}
			}
		}
	}
	for i := range outcomes {
		if outcomes[i].err != nil {
			outcomes[i].err = classifyMongo(outcomes[i].err)
		}
	}
}

// command sends as many of the writes as one update command takes. It returns which those were, how
// many found their document, and the others; outcomes get the errors.
func (m *mongoStore) command(ctx context.Context, collection string, writes []write, indexes []int,
	upsert bool, outcomes []outcome) (sent []int, matched int, rest []int) {
	buffer := m.buffers.Get().(*[]byte)
	defer m.buffers.Put(buffer)
	start, cmd := bsoncore.AppendDocumentStart((*buffer)[:0])
	cmd = bsoncore.AppendStringElement(cmd, "update", collection)
	cmd = bsoncore.AppendBooleanElement(cmd, "ordered", false)
	concern, cmd := open(cmd, "writeConcern")
	cmd = bsoncore.AppendStringElement(cmd, "w", "majority")
	cmd = closed(cmd, concern)
	updates, cmd := bsoncore.AppendArrayElementStart(cmd, "updates")
	rest = indexes
	for len(rest) > 0 && len(cmd) < commandMaxBytes {
		i := rest[0]
		before := len(cmd)
		cmd = bsoncore.AppendHeader(cmd, bsoncore.TypeEmbeddedDocument, strconv.Itoa(len(sent)))
		cmd = appendStatement(cmd, &writes[i], upsert)
		size := len(cmd) - before
		if size > documentMaxBytes {
			cmd = cmd[:before]
			outcomes[i].err = rejectf(ruleDocument, "%d bytes are more than a document can hold", size)
		} else if before+size > documentMaxBytes && len(sent) > 0 {
			cmd = cmd[:before]
			break
		} else {
			sent = append(sent, i)
		}
		rest = rest[1:]
	}
	if len(sent) == 0 {
		return nil, 0, rest
	}
	cmd = closed(closed(cmd, updates), start)
	if *buffer = cmd; cap(cmd) > 1<<20 {
		*buffer = nil // a rare one: not kept
	}
	reply, err := m.database.RunCommand(inCollection(ctx, collection), bson.Raw(cmd)).Raw()
	var exception mongo.WriteException
	if errors.As(err, &exception) {
		err = nil
		if exception.WriteConcernError != nil {
			err = *exception.WriteConcernError
		}
	}
	for _, i := range sent {
		outcomes[i].err = err
	}
	for _, e := range exception.WriteErrors {
		if e.Index < len(sent) {
			outcomes[sent[e.Index]].err = e
		}
	}
	n, _ := reply.Lookup("n").AsInt64OK()
	return sent, int(n), rest
}

func (m *mongoStore) find(ctx context.Context, collection string, ids []string, members ...string) (
	map[string]bson.Raw, error) {
	o := options.Find()
	if len(members) > 0 {
		projection := bson.D{}
		for _, name := range members {
			projection = append(projection, bson.E{Key: name, Value: 1})
		}
		o.SetProjection(projection)
	}
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
	found := make(map[string]bson.Raw, len(ids))
	err := m.query(ctx, collection, filter, o, func(document bson.Raw) error {
		id, _ := document.Lookup("_id").StringValueOK()
		found[id] = document
		return nil
	})
	return found, err
}

func (m *mongoStore) holders(ctx context.Context, collection, field string, items []string) (
	[]bson.Raw, error) {
	projection := bson.D{}
	for _, item := range items {
		projection = append(projection, bson.E{Key: field + "." + item, Value: 1})
	}
	filter := bson.D{{Key: embeddedMember + "." + field, Value: bson.D{{Key: "$in", Value: items}}}}
	var documents []bson.Raw
	err := m.query(ctx, collection, filter, options.Find().SetProjection(projection),
		func(document bson.Raw) error {
			documents = append(documents, document)
			return nil
		})
	return documents, err
}

func (m *mongoStore) all(ctx context.Context, collection string, visit func(bson.Raw) error) error {
	return m.query(ctx, collection, bson.D{}, options.Find(), visit)
}

// query gives visit documents that stay valid.
func (m *mongoStore) query(ctx context.Context, collection string, filter bson.D,
	o *options.FindOptionsBuilder, visit func(bson.Raw) error) error {
	ctx = inCollection(ctx, collection)
	cursor, err := m.database.Collection(collection).Find(ctx, filter, o)
	if err != nil {
		return classifyMongo(fmt.Errorf("find in %s: %w", collection, err))
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		if err := visit(append(bson.Raw(nil), cursor.Current...)); err != nil {
			return err
		}
	}
	if err := cursor.Err(); err != nil {
		return classifyMongo(fmt.Errorf("find in %s: %w", collection, err))
	}
	return nil
}

func (m *mongoStore) keep(ctx context.Context, document bson.Raw) error {
	if err := m.prepareKept(ctx); err != nil {
		return err
	}
	_, err := m.database.Collection(keptCollection).InsertOne(inCollection(ctx, keptCollection), document)
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	return classifyMongo(err)
}

func (m *mongoStore) fill(ctx context.Context, at place, position, member string, elements []byte) error {
	path := ""
	if at.embedded() {
		path = at.field + "." + at.item + "."
	}
	filter := bson.D{{Key: "_id", Value: at.id},
		{Key: path + "cdcMetadata.position", Value: bson.D{{Key: "$gt", Value: position}}},
		{Key: path + "cdcMetadata.deleted", Value: bson.D{{Key: "$ne", Value: true}}},
		{Key: path + member, Value: bson.D{{Key: "$exists", Value: false}}}}
	_, err := m.database.Collection(at.collection).UpdateOne(inCollection(ctx, at.collection), filter,
		bson.D{{Key: "$set", Value: asDocument(appendPrefixed(nil, path, elements))}})
	return classifyMongo(err)
}

// empty is an error for a database that holds something.
func (m *mongoStore) empty(ctx context.Context) error {
	names, err := m.database.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return classifyMongo(fmt.Errorf("list the collections: %w", err))
	}
	if len(names) > 0 {
		slices.Sort(names)
		return fmt.Errorf("the database %s is not empty, it has %s: drop it or name another one (--database)", m.config.Database, names[0])
	}
	return nil
}

func (m *mongoStore) collections(ctx context.Context) ([]string, error) {
	names, err := m.database.ListCollectionNames(ctx, bson.D{{Key: "type", Value: "collection"}})
	if err != nil {
		return nil, classifyMongo(fmt.Errorf("list the collections: %w", err))
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "system.") })
	slices.Sort(names)
	return names, nil
}
