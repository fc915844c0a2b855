package documents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/consumer/entity"
)

// LiveSuffix ends the name of a collection's view: without tombstones, without shells, and without
// the tombstones of embedded rows. Readers use this view.
const LiveSuffix = entity.LiveSuffix

// Server error codes. Source: src/mongo/base/error_codes.yml.
const (
	unauthorized        = 13
	namespaceExists     = 48
	indexOptionConflict = 85
	indexKeyConflict    = 86
)

// prepareCollection makes, once, the indexes and views of a collection: the index ending
// tombstones, the index for finding embedded rows, the indexes of references, and the views. An
// existing index with other options is somebody's decision and stays; a view follows the specs.
func (m *Mongo) prepareCollection(ctx context.Context, collection string, spec *entity.Spec) error {
	if collection == KeptCollection {
		return m.prepareKept(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := collection + "/" + spec.Entity
	if m.prepared[key] {
		return nil
	}
	indexes := []mongo.IndexModel{TombstoneIndex(m.config.TombstoneTTL)}
	single := func(member string) {
		indexes = append(indexes, mongo.IndexModel{Keys: bson.D{{Key: member, Value: 1}}})
	}
	if spec.Embed != nil {
		single(EmbeddedMember + "." + spec.Embed.Field)
	} else {
		for _, r := range spec.References {
			single(memberOfColumn(spec, r.Column))
		}
	}
	if err := m.createIndexes(ctx, collection, indexes); err != nil {
		return err
	}
	if err := m.createView(ctx, collection+LiveSuffix, collection,
		liveStages(collection, m.registry)); err != nil {
		return err
	}
	if spec.Embed == nil && len(spec.References) > 0 {
		name := collection + RelatedSuffix
		if err := m.createView(ctx, name, collection+LiveSuffix,
			relatedStages(spec, m.registry)); err != nil {
			return err
		}
	}
	m.prepared[key] = true
	return nil
}

func (m *Mongo) prepareKept(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prepared[KeptCollection] {
		return nil
	}
	err := m.createIndexes(ctx, KeptCollection, []mongo.IndexModel{{
		Keys:    bson.D{{Key: "keptAt", Value: 1}},
		Options: options.Index().SetExpireAfterSeconds(int32(m.config.TombstoneTTL.Seconds())),
	}})
	m.prepared[KeptCollection] = err == nil
	return err
}

// TombstoneIndex lets MongoDB remove tombstones after their time.
func TombstoneIndex(ttl time.Duration) mongo.IndexModel {
	return mongo.IndexModel{
		Keys: bson.D{{Key: "cdcMetadata.deletedAt", Value: 1}},
		Options: options.Index().SetExpireAfterSeconds(int32(ttl.Seconds())).
			SetPartialFilterExpression(bson.D{{Key: "cdcMetadata.deleted", Value: true}}),
	}
}

func (m *Mongo) createIndexes(ctx context.Context, collection string,
	indexes []mongo.IndexModel) error {
	for _, index := range indexes {
		_, err := m.database.Collection(collection).Indexes().CreateOne(ctx, index)
		if err != nil && !hasErrorCode(err, indexOptionConflict, indexKeyConflict) {
			return m.classify(collection,
				fmt.Errorf("create the index %v of %s: %w", index.Keys, collection, err))
		}
	}
	return nil
}

func hasErrorCode(err error, codes ...int) bool {
	var server mongo.ServerError
	return errors.As(err, &server) && slices.ContainsFunc(codes, server.HasErrorCode)
}

func memberOfColumn(spec *entity.Spec, column string) string {
	for _, f := range spec.Fields {
		if f.Column == column {
			return f.Member()
		}
	}
	return column
}

// createView makes the view, or changes an existing view to follow the specs.
func (m *Mongo) createView(ctx context.Context, name, on string, stages mongo.Pipeline) error {
	err := m.database.CreateView(ctx, name, on, stages)
	if hasErrorCode(err, namespaceExists) {
		err = m.changeView(ctx, name, on, stages)
	}
	if err != nil {
		return m.classify(strings.TrimSuffix(on, LiveSuffix),
			fmt.Errorf("create the view %s: %w", name, err))
	}
	return nil
}

func (m *Mongo) changeView(ctx context.Context, name, on string, stages mongo.Pipeline) error {
	there, err := m.database.ListCollectionSpecifications(ctx, bson.D{{Key: "name", Value: name}})
	if err != nil || len(there) != 1 || there[0].Type != "view" {
		return err // a collection in the view's place is somebody's
	}
	want, err := bson.Marshal(bson.D{{Key: "pipeline", Value: stages}})
	if err != nil || there[0].Options.Lookup("pipeline").Equal(bson.Raw(want).Lookup("pipeline")) {
		return err
	}
	err = m.database.RunCommand(ctx, bson.D{{Key: "collMod", Value: name},
		{Key: "viewOn", Value: on},
		{Key: "pipeline", Value: stages}}).Err()
	if !hasErrorCode(err, unauthorized) {
		return err
	}
	// The role readWrite is enough to make a view, but not to change a view.
	if err := m.database.Collection(name).Drop(ctx); err != nil {
		return err
	}
	return m.database.CreateView(ctx, name, on, stages)
}

// RelatedSuffix ends the name of a second view, of collections with references: each row has the
// referred row beside its own members, under the entity's name. The view is for reads that list
// orders or addresses with their customer. The rows are joined at the time of the read, by _id;
// otherwise a copy in each order would have to be written again with every change of the customer,
// and could be older than the customer.
const RelatedSuffix = entity.RelatedSuffix

func relatedStages(spec *entity.Spec, registry *entity.Registry) mongo.Pipeline {
	var stages mongo.Pipeline
	for _, r := range spec.References {
		target, known := registry.ByEntity(r.Entity)
		if !known || target.Embed != nil {
			continue
		}
		stages = append(stages,
			bson.D{{Key: "$lookup", Value: bson.D{{Key: "from", Value: target.Collection +
				LiveSuffix},
				{Key: "localField", Value: memberOfColumn(spec, r.Column)},
				{Key: "foreignField", Value: "_id"},
				{Key: "as", Value: r.Entity}}}},
			bson.D{{Key: "$set", Value: bson.D{{Key: r.Entity,
				Value: bson.D{{Key: "$first", Value: "$" + r.Entity}}}}}})
	}
	return stages
}

func liveStages(collection string, registry *entity.Registry) mongo.Pipeline {
	not := func(mark string) bson.E {
		return bson.E{Key: "cdcMetadata." + mark, Value: bson.D{{Key: "$ne", Value: true}}}
	}
	stages := mongo.Pipeline{
		{{Key: "$match", Value: bson.D{not("deleted"), not("shell")}}},
		{{Key: "$unset", Value: EmbeddedMember}},
	}
	for _, spec := range registry.All() {
		if spec.Embed == nil || spec.Collection != collection {
			continue
		}
		rows := bson.D{{Key: "$objectToArray", Value: bson.D{{Key: "$ifNull", Value: bson.A{
			"$" + spec.Embed.Field, bson.D{}}}}}}
		living := bson.D{{Key: "$filter", Value: bson.D{
			{Key: "input", Value: rows}, {Key: "as", Value: "row"},
			{Key: "cond", Value: bson.D{{Key: "$ne", Value: bson.A{
				"$$row.v.cdcMetadata.deleted", true}}}}}}}
		stages = append(stages, bson.D{{Key: "$set", Value: bson.D{{Key: spec.Embed.Field,
			Value: bson.D{{Key: "$arrayToObject", Value: living}}}}}})
	}
	return stages
}
