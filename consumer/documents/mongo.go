package documents

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
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// Mongo keeps rows in MongoDB. Acknowledged means by a majority.
type Mongo struct {
	client   *mongo.Client
	database *mongo.Database
	config   Config
	registry *entity.Registry

	buffers  sync.Pool // of *[]byte, for commands
	mu       sync.Mutex
	prepared map[string]bool // collections with their indexes and view
}

// Open makes the client. Open waits for no server; an error names the wrong flag.
func Open(config Config, registry *entity.Registry, m *telemetry.Metrics) (*Mongo, error) {
	o, err := config.clientOptions(m)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("--mongo-uri: %w", err)
	}
	return &Mongo{client: client, database: client.Database(config.Database), config: config,
		registry: registry, prepared: map[string]bool{},
		buffers: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// Close ends the client's connections.
func (m *Mongo) Close(ctx context.Context) error {
	if err := m.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("disconnect from MongoDB: %w", err)
	}
	return nil
}

// Ping returns nil when MongoDB answers.
func (m *Mongo) Ping(ctx context.Context) error {
	if err := m.client.Ping(ctx, nil); err != nil {
		return fmt.Errorf("ping MongoDB: %w", err)
	}
	return nil
}

// Limits of one update command: a message holds 48 MB, but the command's body is a document.
const (
	documentMaxBytes = 16 << 20
	commandMaxBytes  = 12 << 20
)

// Apply is as Store says.
func (m *Mongo) Apply(ctx context.Context, writes []Write) []Outcome {
	outcomes := make([]Outcome, len(writes))
	if len(writes) == 0 {
		return outcomes
	}
	m.slowDown(ctx, len(writes))
	collection, all := writes[0].Collection, make([]int, 0, len(writes))
	var others map[string][]int
	for i := range writes {
		if c := writes[i].Collection; c != collection {
			if others == nil {
				others = map[string][]int{}
			}
			others[c] = append(others[c], i)
			continue
		}
		all = append(all, i)
	}
	m.writeCollection(ctx, collection, writes, all, outcomes)
	for c, indexes := range others {
		m.writeCollection(ctx, c, writes, indexes, outcomes)
	}
	return outcomes
}

// writeCollection writes the writes to one collection. A duplicate _id has three meanings: the
// document is as new or newer (stale); another writer made the document between our look and our
// insert (ours may be newer, so try once more, without upsert); or the duplicate is in another
// unique index, and age has no part in the matter.
func (m *Mongo) writeCollection(ctx context.Context, collection string, writes []Write,
	indexes []int, outcomes []Outcome) {
	fail := func(indexes []int, err error) {
		for _, i := range indexes {
			outcomes[i].Err = err
		}
	}
	if err := m.prepareCollection(ctx, collection, writes[indexes[0]].Spec); err != nil {
		fail(indexes, err)
		return
	}
	all := indexes
	for len(indexes) > 0 {
		var sent []int
		sent, _, indexes = m.sendUpdate(ctx, collection, writes, indexes, true, outcomes)
		var again []int
		for _, i := range sent {
			if duplicateID(outcomes[i].Err) {
				outcomes[i].Err = nil
				again = append(again, i)
			}
		}
		for len(again) > 0 {
			var retried []int
			var matched int
			retried, matched, again = m.sendUpdate(ctx, collection, writes, again, false, outcomes)
			for _, i := range retried {
				if outcomes[i].Err == nil {
					// MongoDB does not say which of the writes matched; only the counts by
					// operation depend on the answer.
					outcomes[i].Stale = matched == 0
					matched = max(matched-1, 0)
				}
			}
		}
	}
	for _, i := range all {
		outcomes[i].Err = m.classify(collection, outcomes[i].Err)
	}
}

// sendUpdate sends as many of the writes as one update command takes. sendUpdate returns the
// indexes of the writes sent, the number of documents found, and the other indexes; outcomes get
// the errors.
func (m *Mongo) sendUpdate(ctx context.Context, collection string, writes []Write, indexes []int,
	upsert bool, outcomes []Outcome) (sent []int, matched int, rest []int) {
	buffer := m.buffers.Get().(*[]byte)
	defer m.buffers.Put(buffer)
	start, cmd := bsoncore.AppendDocumentStart((*buffer)[:0])
	cmd = bsoncore.AppendStringElement(cmd, "update", collection)
	cmd = bsoncore.AppendBooleanElement(cmd, "ordered", false)
	concern, cmd := startDocument(cmd, "writeConcern")
	cmd = bsoncore.AppendStringElement(cmd, "w", "majority")
	cmd = endDocument(cmd, concern)
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
			outcomes[i].Err = fate.Rejectf(fate.RuleDocument,
				"%d bytes are more than a document can hold", size)
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
	cmd = endDocument(endDocument(cmd, updates), start)
	if *buffer = cmd; cap(cmd) > 1<<20 {
		*buffer = nil // a rare buffer: not kept
	}
	reply, err := m.database.RunCommand(inCollection(ctx, collection), bson.Raw(cmd)).Raw()
	var exception mongo.WriteException
	if errors.As(err, &exception) {
		err = nil
		if exception.WriteConcernError != nil {
			err = *exception.WriteConcernError
		}
	}
	if hasErrorCode(err, refusedBytes...) {
		return sent, m.sendAlone(ctx, collection, writes, sent, upsert, outcomes, err), rest
	}
	for _, i := range sent {
		outcomes[i].Err = err
	}
	for _, e := range exception.WriteErrors {
		if e.Index < len(sent) {
			outcomes[sent[e.Index]].Err = e
		}
	}
	noteNew(reply, writes, sent, outcomes)
	n, _ := reply.Lookup("n").AsInt64OK()
	return sent, int(n), rest
}

// noteNew notes in the outcomes which updates made documents, by MongoDB's reply.
func noteNew(reply bson.Raw, writes []Write, sent []int, outcomes []Outcome) {
	if !slices.ContainsFunc(sent, func(i int) bool {
		return writes[i].Operation == OperationUpdate
	}) {
		return
	}
	made, _ := reply.Lookup("upserted").ArrayOK()
	all, err := made.Values()
	if err != nil {
		return // counts depend on the answer, and no document
	}
	for _, one := range all {
		document, _ := one.DocumentOK()
		at, is := document.Lookup("index").AsInt64OK()
		if is && at >= 0 && int(at) < len(sent) {
			outcomes[sent[at]].New = writes[sent[at]].Operation == OperationUpdate
		}
	}
}

// sendAlone sends each of the writes alone, after an error about the command of all: one statement
// is refused, and the others are not. sendAlone returns the number of documents found.
func (m *Mongo) sendAlone(ctx context.Context, collection string, writes []Write, indexes []int,
	upsert bool, outcomes []Outcome, refused error) (matched int) {
	if len(indexes) == 1 {
		outcomes[indexes[0]].Err = fate.Rejectf(fate.RuleDocument,
			"MongoDB cannot read the document: %v", cutAnswer(refused))
		return 0
	}
	for _, i := range indexes {
		_, n, _ := m.sendUpdate(ctx, collection, writes, []int{i}, upsert, outcomes)
		matched += n
	}
	return matched
}

// Find is as Store says.
func (m *Mongo) Find(ctx context.Context, collection string, ids []string, members ...string) (
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
	err := m.visitFound(ctx, collection, filter, o, func(document bson.Raw) error {
		id, _ := document.Lookup("_id").StringValueOK()
		found[id] = document
		return nil
	})
	return found, err
}

// Matching is as Store says.
func (m *Mongo) Matching(ctx context.Context, collection string, elements []byte, most int) (
	[]bson.Raw, error) {
	var filter bson.D
	if err := bson.Unmarshal(AsDocument(elements), &filter); err != nil {
		return nil, fmt.Errorf("read the members to look for: %w", err)
	}
	for i := range filter { // a document is compared, and not read as an operator
		filter[i].Value = bson.D{{Key: "$eq", Value: filter[i].Value}}
	}
	var documents []bson.Raw
	err := m.visitFound(ctx, collection, filter, options.Find().SetLimit(int64(most)),
		func(document bson.Raw) error {
			documents = append(documents, document)
			return nil
		})
	return documents, err
}

// Holders is as Store says.
func (m *Mongo) Holders(ctx context.Context, collection, field string, items []string) (
	[]bson.Raw, error) {
	projection := bson.D{}
	for _, item := range items {
		projection = append(projection, bson.E{Key: field + "." + item, Value: 1})
	}
	filter := bson.D{{Key: EmbeddedMember + "." + field, Value: bson.D{{Key: "$in", Value: items}}}}
	var documents []bson.Raw
	err := m.visitFound(ctx, collection, filter, options.Find().SetProjection(projection),
		func(document bson.Raw) error {
			documents = append(documents, document)
			return nil
		})
	return documents, err
}

// All is as Store says.
func (m *Mongo) All(ctx context.Context, collection string, visit func(bson.Raw) error) error {
	return m.visitFound(ctx, collection, bson.D{}, options.Find(), visit)
}

// visitFound gives visit documents valid for good.
func (m *Mongo) visitFound(ctx context.Context, collection string, filter bson.D,
	o *options.FindOptionsBuilder, visit func(bson.Raw) error) error {
	ctx = inCollection(ctx, collection)
	cursor, err := m.database.Collection(collection).Find(ctx, filter, o)
	if err != nil {
		return m.classify(collection, fmt.Errorf("find in %s: %w", collection, err))
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		if err := visit(append(bson.Raw(nil), cursor.Current...)); err != nil {
			return err
		}
	}
	if err := cursor.Err(); err != nil {
		return m.classify(collection, fmt.Errorf("find in %s: %w", collection, err))
	}
	return nil
}

// Keep is as Store says.
func (m *Mongo) Keep(ctx context.Context, document bson.Raw) error {
	if err := m.prepareKept(ctx); err != nil {
		return err
	}
	_, err := m.database.Collection(KeptCollection).InsertOne(
		inCollection(ctx, KeptCollection), document)
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	return m.classify(KeptCollection, err)
}

// Fill is as Store says.
func (m *Mongo) Fill(ctx context.Context, at Place, position, member string,
	elements []byte) error {
	path := ""
	if at.Embedded() {
		path = at.Field + "." + at.Item + "."
	}
	filter := bson.D{{Key: "_id", Value: at.ID},
		{Key: path + "cdcMetadata.position", Value: bson.D{{Key: "$gt", Value: position}}},
		{Key: path + "cdcMetadata.deleted", Value: bson.D{{Key: "$ne", Value: true}}},
		{Key: path + member, Value: bson.D{{Key: "$exists", Value: false}}}}
	_, err := m.database.Collection(at.Collection).UpdateOne(
		inCollection(ctx, at.Collection), filter,
		bson.D{{Key: "$set", Value: AsDocument(appendPrefixed(nil, path, elements))}})
	return m.classify(at.Collection, err)
}

// Empty returns an error unless the database is empty.
func (m *Mongo) Empty(ctx context.Context) error {
	names, err := m.database.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return m.classify(KeptCollection, fmt.Errorf("list the collections: %w", err))
	}
	if len(names) > 0 {
		slices.Sort(names)
		return fmt.Errorf("the database %s is not empty, it has %s: "+
			"drop it or name another one (--database)", m.config.Database, names[0])
	}
	return nil
}

// Collections is as Store says.
func (m *Mongo) Collections(ctx context.Context) ([]string, error) {
	names, err := m.database.ListCollectionNames(ctx, bson.D{{Key: "type", Value: "collection"}})
	if err != nil {
		return nil, m.classify(KeptCollection, fmt.Errorf("list the collections: %w", err))
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "system.") })
	slices.Sort(names)
	return names, nil
}
