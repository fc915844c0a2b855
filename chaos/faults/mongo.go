package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/mongodb"
)

// mongoKinds are the faults of MongoDB itself, of the family database.
func mongoKinds() []Kind {
	return []Kind{{Name: "index-builds", Family: "database", Does: "builds an index of one " +
		"collection after the other, and drops the index before", Ends: Lasts, Shared: true,
		Targets: []string{stack.Mongo}, Stacks: everyStack,
		Verified: "MongoDB lists the index, and builds were finished",
		Undone:   "the index is dropped", bind: buildIndexes}}
}

// chaosIndex is the name of the index of index-builds.
const chaosIndex = "cdclab_chaos"

// collections lists the collections with documents of rows.
func collections(ctx context.Context, db *mongo.Database) ([]string, error) {
	names, err := db.ListCollectionNames(ctx, bson.D{{Key: "type", Value: "collection"}})
	if err != nil {
		return nil, fmt.Errorf("list the collections: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "cdc")
	})
	slices.Sort(names)
	return names, nil
}

// indexing is the work of index-builds beside the timeline.
type indexing struct {
	beside
	client *mongo.Client
	db     *mongo.Database
	// names are the collections; one has the index at any moment.
	names  []string
	builds int
	// failed ends the work; to be read after end.
	failed error
}

// open connects, and looks for the collections.
func (x *indexing) open(ctx context.Context, s Site) (err error) {
	if x.client, err = mongodb.Connect(s.At.MongoURI); err != nil {
		return err
	}
	x.db = x.client.Database(s.At.MongoDatabase)
	if x.names, err = collections(ctx, x.db); err == nil && len(x.names) == 0 {
		err = errors.New("there is no collection yet")
	}
	return err
}

func (x *indexing) build(ctx context.Context, name string) error {
	_, err := x.db.Collection(name).Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys:    bson.D{{Key: "cdcMetadata.position", Value: 1}},
		Options: options.Index().SetName(chaosIndex)})
	if err != nil {
		return fmt.Errorf("build an index of %s: %w", name, err)
	}
	x.builds++
	return nil
}

// rotate builds until ctx ends. A build that was begun is carried through, so that the count is
// right.
func (x *indexing) rotate(ctx context.Context) {
	whole := context.WithoutCancel(ctx)
	for n := 0; ctx.Err() == nil && x.failed == nil; n++ {
		old, next := x.names[n%len(x.names)], x.names[(n+1)%len(x.names)]
		if len(x.names) == 1 {
			x.failed = errors.Join(dropIndex(whole, x.db, old), x.build(whole, next))
			continue
		}
		x.failed = errors.Join(x.build(whole, next), dropIndex(whole, x.db, old))
	}
}

// evidence names the collection with the index.
func (x *indexing) evidence(ctx context.Context) (string, error) {
	x.end()
	if x.failed != nil {
		return "", x.failed
	}
	for _, name := range x.names {
		specs, err := x.db.Collection(name).Indexes().ListSpecifications(ctx)
		if err != nil {
			return "", fmt.Errorf("list the indexes of %s: %w", name, err)
		}
		for _, spec := range specs {
			if spec.Name == chaosIndex {
				return fmt.Sprintf("%d builds, the last of collection %s", x.builds, name), nil
			}
		}
	}
	return "", fmt.Errorf("no collection has the index %s", chaosIndex)
}

// undo drops the index everywhere and disconnects, once.
func (x *indexing) undo(ctx context.Context) error {
	x.end()
	if x.client == nil {
		return nil
	}
	var all []error
	for _, name := range x.names {
		all = append(all, dropIndex(ctx, x.db, name))
	}
	all = append(all, x.client.Disconnect(ctx))
	x.client, x.names = nil, nil
	return errors.Join(all...)
}

func buildIndexes(s Site) *Injection {
	x := &indexing{}
	return &Injection{Healthy: s.healthy, During: x.evidence, Undo: x.undo,
		Inject: func(ctx context.Context) error {
			err := x.open(ctx, s)
			if err == nil {
				err = x.build(ctx, x.names[0])
			}
			if err == nil {
				x.begin(x.rotate)
			}
			return err
		}}
}

// indexNotFound is MongoDB's error code of an index that is not there.
const indexNotFound = 27

// dropIndex drops the index of index-builds; a collection without the index stays as it is.
func dropIndex(ctx context.Context, db *mongo.Database, name string) error {
	err := db.Collection(name).Indexes().DropOne(ctx, chaosIndex)
	var refusal mongo.ServerError
	if errors.As(err, &refusal) && refusal.HasErrorCode(indexNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop the index of %s: %w", name, err)
	}
	return nil
}
