package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/hop/pg"
)

const (
	historyTable = "peer_history"
	// keysOfCase are the rows of each case, versionsOfCase how often the rows of the first two
	// change.
	keysOfCase     = 20
	versionsOfCase = 50
	// historyLimit bounds each wait: a stand-in takes milliseconds for each write of the peer's.
	historyLimit = 5 * time.Minute
)

// Columns are few and of types stored alike by both sinks; note is long enough for TOAST and stored
// outside of the row.
const historySchema = `CREATE TABLE public.` + historyTable + ` (
	id bigint PRIMARY KEY, version bigint NOT NULL, name text, note text);
	ALTER TABLE public.` + historyTable + ` ALTER COLUMN note SET STORAGE EXTERNAL`

// History is what both sinks made of the scripted history.
type History struct {
	// Records of the topic before the last Duplicates records were produced again.
	Records    int64 `json:"records"`
	Duplicates int   `json:"duplicates"`
	// Cases by their order in the history, each with both sinks.
	Cases []Case `json:"cases"`
	// Watched is what readers saw while the duplicates were replayed, a reader for each sink.
	Watched []Watched `json:"watched"`
}

// The cases of the history.
const (
	caseUpdated   = "rows updated 50 times"
	caseDeleted   = "rows updated, then deleted"
	caseInserted  = "deleted and inserted again"
	caseToast     = "update beside a TOAST value"
	caseKey       = "key change"
	caseKeyToast  = "key change beside a TOAST value"
	caseNewOffset = 500 // a changed key is the old one and this
)

// caseNames in the order of the table; the keys of the n-th begin at 1000 n + 1.
var caseNames = []string{caseUpdated, caseDeleted, caseInserted, caseToast, caseKey, caseKeyToast}

// caseKeys returns the keys of a case, before any key change.
func caseKeys(name string) []int64 {
	first := int64(1000*(1+slices.Index(caseNames, name)) + 1)
	keys := make([]int64, keysOfCase)
	for n := range keys {
		keys[n] = first + int64(n)
	}
	return keys
}

// caseOf is the case of a key, "" of none.
func caseOf(key int64) string {
	n, within := key/1000-1, key%1000
	old := within >= 1 && within <= keysOfCase
	changed := within > caseNewOffset && within <= caseNewOffset+keysOfCase
	if n < 0 || n >= int64(len(caseNames)) || !old && !changed {
		return ""
	}
	return caseNames[n]
}

// historyScript is the history, a statement a transaction.
func historyScript() []string {
	var script []string
	each := func(name, statement string) {
		for _, key := range caseKeys(name) {
			placeholders := strings.NewReplacer("TABLE", "public."+historyTable,
				"KEY", fmt.Sprint(key))
			script = append(script, placeholders.Replace(statement))
		}
	}
	// Random, because TOAST compresses repeated text; 8 kB.
	const long = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 250))`
	for _, name := range caseNames {
		note := `'short'`
		if name == caseToast || name == caseKeyToast {
			note = long
		}
		each(name, `INSERT INTO TABLE VALUES (KEY, 0, 'inserted', `+note+`)`)
	}
	const update = `UPDATE TABLE SET version = version + 1, name = 'updated' WHERE id = KEY`
	for n := range versionsOfCase {
		each(caseUpdated, update)
		each(caseDeleted, update)
		if n != versionsOfCase/2 {
			continue
		}
		each(caseInserted, `DELETE FROM TABLE WHERE id = KEY`)
		each(caseInserted, `INSERT INTO TABLE VALUES (KEY, 100, 'inserted again', NULL)`)
		each(caseToast, update)
		for _, name := range []string{caseKey, caseKeyToast} {
			each(name, update)
			each(name, fmt.Sprintf(
				`UPDATE TABLE SET id = id + %d, version = version + 1 WHERE id = KEY`,
				caseNewOffset))
		}
	}
	each(caseDeleted, `DELETE FROM TABLE WHERE id = KEY`)
	return script
}

// scriptRecords is how many records Debezium makes of the script: a delete and a key change have a
// tombstone, and a key change is a delete and a create.
func scriptRecords(script []string) (records int64) {
	for _, statement := range script {
		switch {
		case strings.HasPrefix(statement, "DELETE"):
			records += 2
		case strings.Contains(statement, "SET id ="):
			records += 3
		default:
			records++
		}
	}
	return records
}

// runHistory writes the script through PostgreSQL and Debezium, has both sinks apply the records,
// produces the end of the topic again while readers watch, and compares what the sinks ended in
// with the rows.
func (p *comparison) runHistory(ctx context.Context) (err error) {
	p.config.Say("writing the history")
	if err := p.writeHistory(ctx); err != nil {
		return err
	}
	var sinks []drainer
	var stores []*store
	for _, name := range []string{MongoSink, OwnSink} {
		target := sinkTarget{
			run: "history", topic: p.history.name, uri: p.stack.Endpoints().MongoURI,
		}
		word := strings.Fields(strings.ToLower(name))[0]
		target.database = fmt.Sprintf("cdclab_%s_%x", word, randomBytes())
		sink := p.sink(name, target)
		collection := p.mongo.Database(target.database).Collection(target.table())
		stores = append(stores, newStore(name, collection))
		defer func() { err = errors.Join(err, p.drop(ctx, target)) }()
		if err := sink.start(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sink.stop(context.WithoutCancel(ctx))) }()
		sinks = append(sinks, sink)
	}
	if err := p.drainHistory(ctx, sinks); err != nil {
		return err
	}
	if err := p.replayWatched(ctx, sinks, stores); err != nil {
		return err
	}
	return p.compareHistory(ctx, stores)
}

func randomBytes() []byte {
	unique := make([]byte, 4)
	rand.Read(unique)
	return unique
}

func (p *comparison) writeHistory(ctx context.Context) error {
	conn, err := pg.Connect(ctx, p.stack.Endpoints().PostgresDSN)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	script := historyScript()
	for _, statement := range append([]string{historySchema}, script...) {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	p.result.History.Records = scriptRecords(script)
	return p.history.filled(ctx, p.result.History.Records, historyLimit)
}

func (p *comparison) drainHistory(ctx context.Context, sinks []drainer) error {
	for _, sink := range sinks {
		if err := p.history.drained(ctx, sink, historyLimit); err != nil {
			return err
		}
	}
	return nil
}

// replayWatched produces the last records of the topic again, byte for byte and each into the same
// partition, as a source connector does after a death before noting the sent records.
func (p *comparison) replayWatched(ctx context.Context, sinks []drainer, stores []*store) error {
	all := map[int32][]*kgo.Record{}
	err := p.history.each(ctx, func(r *kgo.Record) {
		all[r.Partition] = append(all[r.Partition], r)
	})
	if err != nil {
		return err
	}
	again := lastRecords(all, p.config.Duplicates)
	p.result.History.Duplicates = len(again)
	p.config.Say(fmt.Sprintf("producing the last %d of %d records again",
		len(again), p.result.History.Records))
	watched, stop := context.WithCancel(ctx)
	defer stop()
	var watching []func() (Watched, error)
	for _, store := range stores {
		w, err := watch(watched, store)
		if err != nil {
			return err
		}
		watching = append(watching, w)
	}
	if err := p.client.ProduceSync(ctx, again...).FirstErr(); err != nil {
		return fmt.Errorf("produce the duplicates: %w", err)
	}
	if err := p.drainHistory(ctx, sinks); err != nil {
		return err
	}
	stop()
	for _, end := range watching {
		seen, err := end()
		if err != nil {
			return err
		}
		p.result.History.Watched = append(p.result.History.Watched, seen)
	}
	return nil
}

// lastRecords returns copies of the last n records of all partitions by their time in the log, each
// partition's in order.
func lastRecords(all map[int32][]*kgo.Record, n int) []*kgo.Record {
	var flat []*kgo.Record
	for _, records := range all {
		flat = append(flat, records...)
	}
	slices.SortFunc(flat, func(a, b *kgo.Record) int {
		if a.Partition == b.Partition {
			return int(a.Offset - b.Offset)
		}
		if d := a.Timestamp.Compare(b.Timestamp); d != 0 {
			return d
		}
		return int(a.Partition - b.Partition)
	})
	var again []*kgo.Record
	for _, r := range flat[max(0, len(flat)-n):] {
		again = append(again, &kgo.Record{
			Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers,
		})
	}
	return again
}
