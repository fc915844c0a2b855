package experiments

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// cleanUpChunk is how many rows one statement deletes.
const cleanUpChunk = 1000

// selftestCollection is where the generator measures the floor.
const selftestCollection = "lab_selftest"

// ours are the customers that a generator made since a time: it puts the key into the email.
const ours = `SELECT id FROM public.customer WHERE email = 'user-' || id || '@example.com' AND updated_at >= $1`

// unnamed deletes what a generator that was killed wrote and did not come to name in its ledger: it
// gives a customer of its own to every row.
var unnamed = []string{
	`DELETE FROM public.order_item WHERE order_id IN (SELECT id FROM public."order" WHERE customer_id IN (` + ours + `))`,
	`DELETE FROM public."order" WHERE customer_id IN (` + ours + `)`,
	`DELETE FROM public.address WHERE customer_id IN (` + ours + `)`,
	`DELETE FROM public.customer WHERE id IN (` + ours + `)`,
}

// clockTolerance is how far PostgreSQL's clock may be behind the generator's.
const clockTolerance = time.Minute

// CleanUp deletes from PostgreSQL every row that a ledger names, the children first, and so by way of
// the pipeline their documents; it returns how many rows there were. Of a ledger without its end it
// deletes also what the generator made since it began: if even the beginning is missing, since the run
// did. A row that somebody else's row refers to stays, and is the error.
func CleanUp(ctx context.Context, postgresDSN, ledgerPath string, began time.Time) (deleted int64, err error) {
	keys := map[string][]string{}
	header, _, err := ledger.Read(ledgerPath, func(w ledger.Write) error {
		if w.Op == ledger.Insert {
			keys[w.Entity] = append(keys[w.Entity], w.Key)
		}
		return nil
	})
	truncated := errors.Is(err, ledger.ErrTruncated)
	if err != nil && !truncated {
		return 0, fmt.Errorf("clean up: %w", err)
	}
	conn, err := pgx.Connect(ctx, postgresDSN)
	if err != nil {
		return 0, fmt.Errorf("clean up: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, name := range []string{"order_item", "order", "address", "customer"} {
		spec, ok := entity.Default().ByEntity(name)
		if !ok {
			return deleted, fmt.Errorf("clean up: no entity %s", name)
		}
		query := "DELETE FROM " + pgx.Identifier{"public", name}.Sanitize() + " WHERE " +
			pgx.Identifier{spec.Key}.Sanitize() + " = ANY ($1::text[]::uuid[])"
		for some := range slices.Chunk(keys[name], cleanUpChunk) {
			done, err := conn.Exec(ctx, query, some)
			if err != nil {
				return deleted, fmt.Errorf("clean up %s: %w", name, err)
			}
			deleted += done.RowsAffected()
		}
	}
	if !truncated {
		return deleted, nil
	}
	if header.StartUnixNs > 0 {
		began = time.Unix(0, header.StartUnixNs)
	}
	for _, query := range unnamed {
		done, err := conn.Exec(ctx, query, began.Add(-clockTolerance))
		if err != nil {
			return deleted, fmt.Errorf("clean up what the ledger does not name: %w", err)
		}
		deleted += done.RowsAffected()
	}
	return deleted, nil
}

// ledgers are those of the generators of this run that wrote rows: its own, and of a search one for each
// probe. The selftest writes no row.
func (s *session) ledgers() ([]string, error) {
	name := filepath.Base(s.k6.ledgerPath())
	paths, err := filepath.Glob(filepath.Join(s.out, "*", name))
	if err != nil {
		return nil, fmt.Errorf("clean up: %w", err)
	}
	selftest := filepath.Join(s.out, Selftest, name)
	return append(slices.DeleteFunc(paths, func(path string) bool { return path == selftest }), filepath.Join(s.out, name)), nil
}

// cleanUp leaves an external pipeline as it was: the rows are deleted and the deletions waited for.
// Tombstones stay in MongoDB until they expire. What cannot be cleaned up keeps nothing else from it.
func (s *session) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.DrainTimeout)
	defer cancel()
	endpoints := s.stack.Endpoints()
	ledgers, err := s.ledgers()
	failed := []error{err}
	var deleted int64
	for _, path := range ledgers {
		some, err := CleanUp(ctx, endpoints.PostgresDSN, path, s.run.TestRun.StartTime)
		deleted += some
		if !errors.Is(err, fs.ErrNotExist) { // a generator that never began wrote nothing
			failed = append(failed, err)
		}
	}
	s.config.Say(fmt.Sprintf("deleted the %d rows of this run", deleted))
	if err := s.stack.Drained(ctx); err != nil {
		s.warn("after the lab's rows were deleted: " + err.Error())
	}
	return errors.Join(append(failed, dropSelftest(ctx, endpoints))...)
}

// dropSelftest drops what the floor was measured with.
func dropSelftest(ctx context.Context, endpoints stack.Endpoints) error {
	client, err := mongo.Connect(options.Client().ApplyURI(endpoints.MongoURI))
	if err != nil {
		return errors.New("clean up: the MongoDB URI cannot be used")
	}
	defer client.Disconnect(context.WithoutCancel(ctx))
	if err := client.Database(endpoints.MongoDatabase).Collection(selftestCollection).Drop(ctx); err != nil {
		return fmt.Errorf("clean up: drop collection %s: %w", selftestCollection, err)
	}
	return nil
}
