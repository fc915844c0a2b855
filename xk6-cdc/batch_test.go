package cdc

import (
	"strings"
	"testing"
	"time"

	"go.k6.io/k6/lib"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// A burst on one connection, in batches with some failing writes: every write has a fate of its own
// and is seen, and for each row the order of the IDs is the order of the commits.
func TestGeneratorBatches(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Workers, o.Batch, o.Entities = source.DSN(), 20, 1, 50,
			tables.Entities{Customer: 1}
	})
	startCopier(t, source, target, g.options.Database)
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.Run(t, `CREATE TABLE log AS SELECT `+
		`0::bigint AS number, ''::text AS key, 0::bigint AS version LIMIT 0;
		CREATE SEQUENCE numbers;
		CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN `+`INSERT INTO log VALUES (nextval('numbers'), NEW.id, NEW.lab_version); `+
		`RETURN NULL; END $$;
		CREATE TRIGGER log AFTER INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION log();
		ALTER TABLE customer ADD CHECK (lab_version % 7 <> 0) NOT VALID`)
	const writes = 500
	for range writes {
		now := g.now()
		if err := g.enqueue(request{scenario: "load",
			mix: tables.Mix{Insert: 20, Update: 70, Delete: 10}, intendedNs: now, enqueuedNs: now,
			Part: tables.Part{Table: tables.Any}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, g)
	batches, acked := map[int64]int{}, 0
	for _, w := range lines {
		if w.Scenario != "load" {
			continue
		}
		batches[w.SentNs]++
		failed := w.Op != ledger.Delete && w.ID%7 == 0
		if (w.Fate == ledger.Failed) != failed || failed != strings.Contains(w.Error, "23514") {
			t.Errorf("%+v", w)
		}
		if w.Fate == ledger.Acked {
			acked++
			if w.VisibleNs == 0 || w.CommittedNs <= w.SentNs {
				t.Errorf("%+v", w)
			}
		}
	}
	most := 0
	for _, n := range batches {
		most = max(most, n)
	}
	if len(lines) != 20+writes || end.Outstanding != 0 || most > 50 || most < 10 ||
		acked < writes*8/10 {
		t.Errorf("%d lines, %d acked, the largest batch is %d, end %+v", len(lines), acked, most,
			end)
	}
	var disorder int
	source.Scan(t, `SELECT count(*) FROM (SELECT version < lag(version) OVER
		(PARTITION BY key ORDER BY number) AS back FROM log) AS l WHERE back`, &disorder)
	if disorder > 0 {
		t.Errorf("%d commits after one of a later ID", disorder)
	}
}
