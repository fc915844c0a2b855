package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/cdclab/cdclab/consumer/entity"
)

// mongoStore writes documents, each write guarded by the position of what is there:
//
//	flat    {_id, cdcMetadata.position: {$lt: position}}            upsert
//	item    {_id, items.<item>.position: {$not: {$gte: position}}}  upsert, makes the order's shell
//
// A guard that does not match makes the upsert insert, which fails on _id. That is triaged in
// bulk. Acknowledged means by a majority.
type mongoStore struct {
	client   *mongo.Client
	database *mongo.Database
	config   Config
}

func openMongo(config Config) (*mongoStore, error) {
	o := options.Client().
		ApplyURI(config.MongoURI).
		SetAppName("cdc-consumer").
		SetWriteConcern(writeconcern.Majority()).
		SetMaxPoolSize(uint64(config.MongoPoolMax)).
		SetConnectTimeout(config.MongoConnectTimeout).
		SetServerSelectionTimeout(config.MongoSelectTimeout).
		SetTimeout(config.MongoTimeout)
	client, err := mongo.Connect(o)
	if err != nil && strings.Contains(config.MongoURI, "@") {
		return nil, errors.New("--mongo-uri: not valid (the reason may hold the password: left out)")
	}
	if err != nil {
		return nil, fmt.Errorf("--mongo-uri: %w", err)
	}
	return &mongoStore{client, client.Database(config.Database), config}, nil
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

// createIndexes makes the index that ends tombstones. An index of that key with other options is
// somebody's decision and stays.
func (m *mongoStore) createIndexes(ctx context.Context, registry *entity.Registry) error {
	const optionsConflict, keySpecsConflict = 85, 86
	index := mongo.IndexModel{
		Keys: bson.D{{Key: "deletedAt", Value: 1}},
		Options: options.Index().
			SetExpireAfterSeconds(int32(m.config.TombstoneTTL.Seconds())).
			SetPartialFilterExpression(bson.D{{Key: "deleted", Value: true}}),
	}
	for _, spec := range registry.All() {
		if spec.Embed != nil {
			continue
		}
		_, err := m.database.Collection(spec.Collection).Indexes().CreateOne(ctx, index)
		var server mongo.ServerError
		if errors.As(err, &server) &&
			(server.HasErrorCode(optionsConflict) || server.HasErrorCode(keySpecsConflict)) {
			continue
		}
		if err != nil {
			return classifyMongo(fmt.Errorf("create the index of %s: %w", spec.Collection, err))
		}
	}
	return nil
}

func (m *mongoStore) apply(ctx context.Context, writes []write) []outcome {
	outcomes := make([]outcome, len(writes))
	byCollection := map[string][]int{}
	for i := range writes {
		byCollection[writes[i].collection] = append(byCollection[writes[i].collection], i)
	}
	for collection, indexes := range byCollection {
		m.bulk(ctx, m.database.Collection(collection), writes, indexes, outcomes)
	}
	return outcomes
}

// bulk writes those of one collection. A duplicate _id has three meanings: the document is as new
// or newer (stale); another writer made it between our look and our insert (we may be newer, so
// try once more, without upsert); and there is the duplicate in another unique index, which is no
// matter of age at all.
func (m *mongoStore) bulk(ctx context.Context, c *mongo.Collection, writes []write, indexes []int,
	outcomes []outcome) {
	var models []mongo.WriteModel
	var sent, taken []int
	for _, i := range indexes {
		model, err := encode(&writes[i])
		if err != nil {
			outcomes[i].err = err
			continue
		}
		models, sent = append(models, model), append(sent, i)
	}
	again := models[:0:0]
	_, errs := m.send(ctx, c, models)
	for n, err := range errs {
		if duplicateID(err) {
			model := *models[n].(*mongo.UpdateOneModel)
			again, taken = append(again, model.SetUpsert(false)), append(taken, sent[n])
			continue
		}
		outcomes[sent[n]].err = classifyMongo(err)
	}
	matched, errs := m.send(ctx, c, again)
	for n, err := range errs {
		done := &outcomes[taken[n]]
		if done.err = classifyMongo(err); err != nil {
			continue
		}
		// Which of them matched is not said; only the counts by operation depend on it.
		done.stale = matched == 0
		matched = max(matched-1, 0)
	}
}

// send returns how many writes found their document, and each write's error.
func (m *mongoStore) send(ctx context.Context, c *mongo.Collection, models []mongo.WriteModel) (
	int64, []error) {
	errs := make([]error, len(models))
	if len(models) == 0 {
		return 0, errs
	}
	result, err := c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	var exception mongo.BulkWriteException
	if errors.As(err, &exception) {
		err = nil
		if exception.WriteConcernError != nil {
			err = *exception.WriteConcernError
		}
	}
	for i := range errs {
		errs[i] = err
	}
	for _, e := range exception.WriteErrors {
		errs[e.Index] = e.WriteError
	}
	if result == nil {
		return 0, errs
	}
	return result.MatchedCount, errs
}

// documentMaxBytes is MongoDB's limit; the driver would refuse the whole bulk for one above it.
const documentMaxBytes = 16 << 20

func encode(w *write) (*mongo.UpdateOneModel, error) {
	filter, update := flatUpdate(w)
	if w.embedded() {
		filter, update = itemUpdate(w)
	}
	raw, err := bson.Marshal(update)
	if err != nil {
		return nil, rejectf(ruleDocument, "encode: %v", err)
	}
	if len(raw) > documentMaxBytes {
		return nil, rejectf(ruleDocument, "%d bytes are more than a document can hold", len(raw))
	}
	return mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(bson.Raw(raw)).SetUpsert(true), nil
}

func flatUpdate(w *write) (filter, update bson.D) {
	set, unset := members(w, "")
	set = append(set, bson.E{Key: "cdcMetadata", Value: bson.D{
		{Key: "sourceTimestamp", Value: w.sourceAt.UnixMilli()},
		{Key: "operation", Value: w.operation},
		{Key: "kafkaTopic", Value: w.record.Topic},
		{Key: "kafkaPartition", Value: w.record.Partition},
		{Key: "kafkaOffset", Value: w.record.Offset},
		{Key: "processedAt", Value: w.processedAt},
		{Key: "position", Value: w.position},
	}})
	unset = append(unset, bson.E{Key: "shell", Value: ""})
	if w.deleted {
		set = append(set, bson.E{Key: "deletedAt", Value: w.processedAt})
	} else {
		unset = append(unset, bson.E{Key: "deletedAt", Value: ""})
	}
	filter = bson.D{{Key: "_id", Value: w.id},
		{Key: "cdcMetadata.position", Value: bson.D{{Key: "$lt", Value: w.position}}}}
	return filter, bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: unset}}
}

func itemUpdate(w *write) (filter, update bson.D) {
	path := w.field + "." + w.item + "."
	set, unset := members(w, path)
	set = append(set,
		bson.E{Key: path + "operation", Value: w.operation},
		bson.E{Key: path + "processedAt", Value: w.processedAt},
		bson.E{Key: path + "position", Value: w.position})
	update = bson.D{{Key: "$set", Value: set}, {Key: "$setOnInsert", Value: bson.D{
		{Key: "shell", Value: true}, {Key: "cdcMetadata.position", Value: ""}}}}
	if len(unset) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	filter = bson.D{{Key: "_id", Value: w.id}, {Key: path + "position",
		Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gte", Value: w.position}}}}}}
	return filter, update
}

// members of a deleted row stay as they were: a row whose key changes may need a value of the old
// one.
func members(w *write, path string) (set, unset bson.D) {
	for _, f := range w.fields {
		if f.absent {
			unset = append(unset, bson.E{Key: path + f.name, Value: ""})
		} else {
			set = append(set, bson.E{Key: path + f.name, Value: f.value})
		}
	}
	if w.deleted {
		return append(set, bson.E{Key: path + "deleted", Value: true}), unset
	}
	return set, append(unset, bson.E{Key: path + "deleted", Value: ""})
}
