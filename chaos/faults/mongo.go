package faults

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

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/mongodb"
)

// mongoKinds are the faults of MongoDB itself, of the family database.
func mongoKinds() []Kind {
	kinds := []Kind{
		{Name: "index-builds", Does: "builds an index of one collection after the other, and " +
			"drops the index before",
			Verified: "MongoDB lists the index, and builds were finished",
			Undone:   "the index is dropped", bind: buildIndexes},
		{Name: "stepped-down", Does: "has the primary of MongoDB's replica set of one step down: " +
			"nobody takes writes until the election at the end",
			Verified: "MongoDB says that it is a secondary; after the end, that it was elected",
			Undone: "the member may be elected again (replSetFreeze 0); after a dead lab, " +
				"within 2 minutes",
			lacks:  mongodb.ElectionImpossible,
			unable: func(s Site) error { return isElected(s.Target, memberAt(s.At.MongoURI)) },
			bind:   func(s Site) *Injection { return stepDown(s, memberAt(s.At.MongoURI)) }},
	}
	for i := range kinds {
		kinds[i].Family, kinds[i].Ends, kinds[i].Shared = "database", Lasts, true
		kinds[i].Targets, kinds[i].Stacks = []string{stack.Mongo}, everyStack
	}
	return kinds
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
	if mongodb.HasCode(err, indexNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop the index of %s: %w", name, err)
	}
	return nil
}

// electionLimit is how long a member that stepped down is not elected without an Undo.
const electionLimit = 2 * time.Minute

// member is a server of a replica set, as far as stepped-down asks. run runs a command of the
// database admin.
type member interface {
	role(context.Context) (mongodb.Role, error)
	run(ctx context.Context, command bson.D) error
}

// memberAt is the member at an address. Each question has a connection of its own, because MongoDB
// may close connections at an election.
type memberAt string

func (uri memberAt) ask(ctx context.Context, question func(context.Context, *mongo.Client) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	client, err := mongodb.Connect(string(uri))
	if err != nil {
		return err
	}
	defer client.Disconnect(ctx)
	return question(ctx, client)
}

func (uri memberAt) role(ctx context.Context) (role mongodb.Role, err error) {
	err = uri.ask(ctx, func(ctx context.Context, client *mongo.Client) (err error) {
		role, err = mongodb.AskRole(ctx, client)
		return err
	})
	return role, err
}

func (uri memberAt) run(ctx context.Context, command bson.D) error {
	return uri.ask(ctx, func(ctx context.Context, client *mongo.Client) error {
		if err := client.Database("admin").RunCommand(ctx, command).Err(); err != nil {
			return fmt.Errorf("%s: %w", command[0].Key, err)
		}
		return nil
	})
}

// notSecondary is MongoDB's error code of a primary that is asked to be a secondary.
const notSecondary = 95

// mayBeElected ends the time in which a member that stepped down is not elected. The primary knows
// the command and changes nothing: primary is true.
func mayBeElected(ctx context.Context, m member) (primary bool, err error) {
	err = m.run(ctx, bson.D{{Key: "replSetFreeze", Value: 0}})
	if mongodb.HasCode(err, notSecondary) {
		return true, nil
	}
	return false, err
}

// isElected refuses a server that is not the elected primary of a replica set.
func isElected(target string, m member) error {
	primary, err := mayBeElected(context.Background(), m)
	if err == nil && !primary {
		err = errors.New("another member is")
	}
	if err != nil {
		return fmt.Errorf("%s is not the elected primary of a replica set: %w", target, err)
	}
	return nil
}

// stepDown has the only member of a replica set step down. The command is to be forced, because
// nobody else can be elected.
func stepDown(s Site, m member) *Injection {
	var before mongodb.Role
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) (err error) {
		if before, err = m.role(ctx); err == nil {
			err = m.run(ctx, bson.D{{Key: "replSetStepDown", Value: int(electionLimit.Seconds())},
				{Key: "force", Value: true}})
		}
		return err
	}
	i.During = func(ctx context.Context) (string, error) {
		now, err := m.role(ctx)
		if err == nil && (now.Primary || !now.Secondary) {
			err = errors.New(s.Target + " is no secondary")
		}
		if err != nil {
			return "", err
		}
		return s.Target + " was a secondary", nil
	}
	i.Undo = func(ctx context.Context) error {
		_, err := mayBeElected(ctx, m)
		return err
	}
	i.After = func(ctx context.Context) (string, error) {
		limited, cancel := context.WithTimeout(ctx, electionLimit)
		defer cancel()
		var now mongodb.Role
		err := until(limited, func() (err error) {
			now, err = m.role(limited)
			if err == nil && (!now.Primary || now.Election == before.Election) {
				err = fmt.Errorf("%s was not elected again", s.Target)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("and was elected again (electionId %s)", now.Election.Hex()), nil
	}
	return i
}
