package experiments

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	peerHistoryTable = "peer_history"
	// peerKeys are the rows of each case, peerVersions how often the rows of the first two change.
	peerKeys     = 20
	peerVersions = 50
	// peerHistoryLimit bounds each wait: a stand-in takes milliseconds for each write of the peer's.
	peerHistoryLimit = 5 * time.Minute
)

// Columns are few and of types that both sinks store alike; note is long enough for TOAST and stored
// outside of the row.
const peerHistorySchema = `CREATE TABLE ` + peerHistoryTable + ` (id bigint PRIMARY KEY, version bigint NOT NULL, name text, note text);
	ALTER TABLE ` + peerHistoryTable + ` ALTER COLUMN note SET STORAGE EXTERNAL`

// PeerHistory is what both sinks made of the scripted history.
type PeerHistory struct {
	// Records of the topic before the last Duplicates of them were produced again.
	Records    int64 `json:"records"`
	Duplicates int   `json:"duplicates"`
	// Cases by their order in the history, each with both sinks.
	Cases []PeerCase `json:"cases"`
	// Watched is what readers saw while the duplicates were replayed, one of each sink.
	Watched []PeerWatched `json:"watched"`
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

// peerCaseNames in the order of the table; the keys of the n-th begin at 1000 n + 1.
var peerCaseNames = []string{caseUpdated, caseDeleted, caseInserted, caseToast, caseKey, caseKeyToast}

// peerCaseKeys are the keys of a case, those it had at first.
func peerCaseKeys(name string) []int64 {
	first := int64(1000*(1+slices.Index(peerCaseNames, name)) + 1)
	keys := make([]int64, peerKeys)
	for n := range keys {
		keys[n] = first + int64(n)
	}
	return keys
}

// peerCaseOf is the case of a key, "" of none.
func peerCaseOf(key int64) string {
	n, within := key/1000-1, key%1000
	if n < 0 || n >= int64(len(peerCaseNames)) || within < 1 || within > caseNewOffset+peerKeys || within > peerKeys && within <= caseNewOffset {
		return ""
	}
	return peerCaseNames[n]
}

// peerScript is the history, a statement a transaction.
func peerScript() []string {
	var script []string
	each := func(name, statement string) {
		for _, key := range peerCaseKeys(name) {
			script = append(script, strings.NewReplacer("TABLE", peerHistoryTable, "KEY", fmt.Sprint(key)).Replace(statement))
		}
	}
	// Random, as TOAST compresses what repeats; 8 kB.
	const long = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 250))`
	for _, name := range peerCaseNames {
		note := `'short'`
		if name == caseToast || name == caseKeyToast {
			note = long
		}
		each(name, `INSERT INTO TABLE VALUES (KEY, 0, 'inserted', `+note+`)`)
	}
	const update = `UPDATE TABLE SET version = version + 1, name = 'updated' WHERE id = KEY`
	for n := range peerVersions {
		each(caseUpdated, update)
		each(caseDeleted, update)
		if n != peerVersions/2 {
			continue
		}
		each(caseInserted, `DELETE FROM TABLE WHERE id = KEY`)
		each(caseInserted, `INSERT INTO TABLE VALUES (KEY, 100, 'inserted again', NULL)`)
		each(caseToast, update)
		for _, name := range []string{caseKey, caseKeyToast} {
			each(name, update)
			each(name, fmt.Sprintf(`UPDATE TABLE SET id = id + %d, version = version + 1 WHERE id = KEY`, caseNewOffset))
		}
	}
	each(caseDeleted, `DELETE FROM TABLE WHERE id = KEY`)
	return script
}

// peerScriptRecords is how many records Debezium makes of the script: a delete and a key change have a
// tombstone, and a key change is a delete and a create.
func peerScriptRecords(script []string) (records int64) {
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

// runHistory writes the script through PostgreSQL and Debezium, has both sinks apply it, produces the
// end of the topic again while readers watch, and compares what the sinks ended in with the rows.
func (p *peerRun) runHistory(ctx context.Context) (err error) {
	p.config.Say("writing the history")
	if err := p.writeHistory(ctx); err != nil {
		return err
	}
	var sinks []peerSink
	var stores []*peerStore
	for _, name := range []string{PeerSink, OwnSink} {
		target := sinkTarget{run: "history", topic: p.history.name, uri: p.stack.Endpoints().MongoURI}
		target.database = fmt.Sprintf("cdclab_%s_%x", strings.Fields(strings.ToLower(name))[0], randomBytes())
		sink := p.sink(name, target)
		stores = append(stores, newPeerStore(name, p.mongo.Database(target.database).Collection(target.table())))
		defer func() { err = errors.Join(err, p.mongo.Database(target.database).Drop(context.WithoutCancel(ctx))) }()
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

func (p *peerRun) writeHistory(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.stack.Endpoints().PostgresDSN)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	script := peerScript()
	for _, statement := range append([]string{peerHistorySchema}, script...) {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	p.result.History.Records = peerScriptRecords(script)
	return p.history.filled(ctx, p.result.History.Records, peerHistoryLimit)
}

func (p *peerRun) drainHistory(ctx context.Context, sinks []peerSink) error {
	for _, sink := range sinks {
		if err := p.history.drained(ctx, sink, peerHistoryLimit); err != nil {
			return err
		}
	}
	return nil
}

// replayWatched produces the last records of the topic again, byte for byte and each into its
// partition, as a source connector does that died before it noted what it had sent.
func (p *peerRun) replayWatched(ctx context.Context, sinks []peerSink, stores []*peerStore) error {
	all := map[int32][]*kgo.Record{}
	err := p.history.each(ctx, p.stack.KafkaOptions(), func(r *kgo.Record) { all[r.Partition] = append(all[r.Partition], r) })
	if err != nil {
		return err
	}
	again := lastRecords(all, p.config.Duplicates)
	p.result.History.Duplicates = len(again)
	p.config.Say(fmt.Sprintf("producing the last %d of %d records again", len(again), p.result.History.Records))
	watched, stop := context.WithCancel(ctx)
	defer stop()
	var watching []func() (PeerWatched, error)
	for _, store := range stores {
		w, err := watchPeer(watched, store)
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

// lastRecords are copies of the last n records of all partitions by their time in the log, each
// partition's in its order.
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
		again = append(again, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	return again
}
