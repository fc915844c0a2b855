package experiments

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/stack"
)

// cleanUpChunk is how many rows one statement deletes.
const cleanUpChunk = 1000

// cleanUpTimeout bounds each single command of a clean-up: a large clean-up takes as long as it has
// to, and a server that no longer answers holds the lab up for a minute.
const cleanUpTimeout = time.Minute

// marked finds the rows of a run by the marker in their keys: of each table, the children first,
// and without rows that other rows refer to.
var marked = []struct{ table, isFree string }{
	{`public.order_item`, ``},
	{`public."order"`, `AND NOT EXISTS (SELECT FROM public.order_item WHERE order_id = t.id)`},
	{`public.address`, ``},
	{`public.customer`, `AND NOT EXISTS (SELECT FROM public."order" WHERE customer_id = t.id)
		AND NOT EXISTS (SELECT FROM public.address WHERE customer_id = t.id)`},
}

// CleanUp deletes from PostgreSQL every row with the run's marker in its key, and so by way of the
// pipeline the documents, and returns how many rows there were. Other rows stay, whatever a ledger
// says of them; a row that somebody else's row refers to stays too, and is the error.
func CleanUp(ctx context.Context, postgresDSN string, marker ledger.Marker) (deleted int64,
	err error) {
	conn, err := connectWithin(ctx, cleanUpTimeout, postgresDSN)
	if err != nil {
		return 0, fmt.Errorf("clean up: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	first, last := marker.Bounds()
	var failed []error
	for _, m := range marked {
		const bounds = " WHERE id BETWEEN $1::text::uuid AND $2::text::uuid "
		some := fmt.Sprintf("DELETE FROM %s WHERE id IN (SELECT id FROM %s t%s%s LIMIT %d)",
			m.table, m.table, bounds, m.isFree, cleanUpChunk)
		rest := "SELECT FROM " + m.table + bounds
		for {
			done, err := execWithin(ctx, conn, some, first, last)
			deleted += done.RowsAffected()
			if err == nil && done.RowsAffected() > 0 {
				continue
			}
			if err == nil {
				done, err = execWithin(ctx, conn, rest, first, last)
			}
			if left := done.RowsAffected(); err == nil && left > 0 {
				err = fmt.Errorf("%d rows stay, because rows of others refer to them", left)
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("clean up %s: %w", m.table, err))
			}
			break
		}
	}
	return deleted, errors.Join(failed...)
}

func execWithin(ctx context.Context, conn *pgx.Conn, query string,
	arguments ...any) (pgconn.CommandTag, error) {
	ctx, cancel := context.WithTimeout(ctx, cleanUpTimeout)
	defer cancel()
	return conn.Exec(ctx, query, arguments...)
}

func connectWithin(ctx context.Context, limit time.Duration, dsn string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return pg.Connect(ctx, dsn)
}

// cleanUp leaves an external pipeline as before: the rows are deleted and the deletions waited for.
// Tombstones stay in MongoDB until they expire. A failed step does not keep the others from
// cleaning up, and each step has its own deadline, also after an interrupt.
func (e *environment) cleanUp(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	endpoints := e.stack.Endpoints()
	dropped := dropSelftest(ctx, endpoints, e.marker)
	deleted, err := CleanUp(ctx, endpoints.PostgresDSN, e.marker)
	e.config.Say(fmt.Sprintf("deleted the %d rows of this run", deleted))
	ctx, cancel := context.WithTimeout(ctx, e.config.DrainTimeout)
	defer cancel()
	if err := e.stack.Drained(ctx); err != nil {
		e.warnings = append(e.warnings, "after the lab's rows were deleted: "+err.Error())
	}
	return errors.Join(dropped, err)
}

// dropSelftest deletes the documents of the run's floor, and then their collection if empty,
// because another run may measure its own floor there.
func dropSelftest(ctx context.Context, endpoints stack.Endpoints, marker ledger.Marker) error {
	ctx, cancel := context.WithTimeout(ctx, cleanUpTimeout)
	defer cancel()
	address, err := hop.Mongo(endpoints.MongoURI)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	client, err := mongo.Connect(address)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	defer client.Disconnect(context.WithoutCancel(ctx))
	collection := client.Database(endpoints.MongoDatabase).Collection(ledger.SelftestCollection)
	first, last := marker.Bounds()
	ours := bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: first},
		{Key: "$lte", Value: last}}}}
	if _, err := collection.DeleteMany(ctx, ours); err != nil {
		return fmt.Errorf("clean up collection %s: %w", ledger.SelftestCollection, err)
	}
	left, err := collection.CountDocuments(ctx, bson.D{}, options.Count().SetLimit(1))
	if err != nil {
		return fmt.Errorf("clean up collection %s: %w", ledger.SelftestCollection, err)
	}
	if left > 0 {
		return nil
	}
	if err := collection.Drop(ctx); err != nil {
		return fmt.Errorf("clean up: drop collection %s: %w", ledger.SelftestCollection, err)
	}
	return nil
}
