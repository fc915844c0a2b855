package consumer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// The table of the benchmarks, a table without a spec.
const (
	benchTable = "bench"
	benchTopic = "cdc.public." + benchTable
	// benchRowBytes is the length of a row in Debezium's JSON.
	benchRowBytes = 400
)

// benchLog is the history of a table as Debezium writes a history, byte for byte as in the corpus:
// 25 % inserts, 60 % updates, 15 % deletes, each deletion followed by its tombstone (a record, but
// no event). Replica identity is the default one. The same seed makes the same log.
type benchLog struct {
	schemas bool
	random  *rand.Rand
	deck    []byte  // operations still to come, so that the shares are exact
	live    []int64 // existing rows
	made    int64   // rows ever made
	events  int64
}

func newBenchLog(schemas bool) *benchLog {
	return &benchLog{schemas: schemas, random: rand.New(rand.NewPCG(1, 2))}
}

// next is the next event: the event's record and, after a delete, the tombstone.
func (g *benchLog) next() []*kgo.Record {
	op, row := g.draw()
	g.events++
	at := time.UnixMilli(g.committedMs() + 100) // in Kafka
	key := g.wrapped(benchKeySchema, `{"id":"`+benchID(row)+`"}`)
	event := &kgo.Record{Topic: benchTopic, Key: key, Value: g.value(op, row),
		Headers: benchHeaders, Timestamp: at}
	if op != 'd' {
		return []*kgo.Record{event}
	}
	return []*kgo.Record{event, {Topic: benchTopic, Key: key, Headers: benchHeaders, Timestamp: at}}
}

func (g *benchLog) draw() (op byte, row int64) {
	if len(g.deck) == 0 {
		g.deck = []byte("cccccuuuuuuuuuuuuddd")
		if rest := g.deck[1:]; len(g.live) == 0 {
			g.random.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		} else {
			g.random.Shuffle(len(g.deck), func(i, j int) {
				g.deck[i], g.deck[j] = g.deck[j], g.deck[i]
			})
		}
	}
	op, g.deck = g.deck[0], g.deck[1:]
	if op == 'c' || len(g.live) == 0 {
		if op != 'c' { // the only row was deleted just now: its share follows
			g.deck[bytes.IndexByte(g.deck, 'c')] = op
		}
		g.made++
		g.live = append(g.live, g.made)
		return 'c', g.made
	}
	at := g.random.IntN(len(g.live))
	row = g.live[at]
	if op == 'd' {
		g.live[at] = g.live[len(g.live)-1]
		g.live = g.live[:len(g.live)-1]
	}
	return op, row
}

// committedMs is when the last event's transaction was committed, in milliseconds since 1970.
func (g *benchLog) committedMs() int64 { return 1795391886611 + g.events/2 }

func benchID(row int64) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", row) }

func (g *benchLog) wrapped(schema, payload string) []byte {
	if !g.schemas {
		return []byte(payload)
	}
	return []byte(`{"schema":` + schema + `,"payload":` + payload + `}`)
}

const benchFallbacks = `","customer_id":"","status":"","total_amount":"0.00",` +
	`"created_at":"1970-01-01T00:00:00.000000Z","updated_at":"1970-01-01T00:00:00.000000Z",` +
	`"note":null,"lab_version":null}`

func (g *benchLog) value(op byte, row int64) []byte {
	before, after := "null", "null"
	if op == 'd' {
		before = `{"id":"` + benchID(row) + benchFallbacks
	} else {
		after = g.row(row)
	}
	// A transaction takes some 400 bytes of the log; its sequence names the end of the transaction
	// before.
	lsn := 0x3000000 + 400*g.events
	ms := g.committedMs()
	return g.wrapped(benchValueSchema, fmt.Sprintf(`{"before":%s,"after":%s,`+
		`"source":{"version":"3.6.3.Final","connector":"postgresql",`+
		`"name":"cdc","ts_ms":%d,"snapshot":null,"db":"lab",`+
		`"sequence":"[\"%d\",\"%d\"]","ts_us":%d595,"ts_ns":%d595000,"schema":"public",`+
		`"table":"`+benchTable+`","txId":%d,"lsn":%d,"xmin":null,"origin":null,"origin_lsn":null},`+
		`"transaction":null,"op":"%c","ts_ms":%d,"ts_us":%d336,"ts_ns":%d336979}`,
		before, after, ms, lsn-128, lsn, ms, ms, 700+g.events, lsn, op, ms+46, ms+46, ms+46))
}

const benchWords = "Please leave it with the neighbour at number 4 if nobody answers the door. " +
	"The parcel is fragile and must stay upright at all times, thank you. "

var benchText = strings.Repeat(benchWords, 4)

// row is a row of eight columns and benchRowBytes bytes.
func (g *benchLog) row(row int64) string {
	text := fmt.Sprintf(`{"id":"%s","customer_id":"%s","status":"%s","total_amount":"%d.%02d",`+
		`"created_at":"2026-11-22T10:00:%02d.%06dZ",`+
		`"updated_at":"2026-11-22T10:%02d:%02d.%06dZ","note":"`,
		benchID(row), benchID(row/8+1<<40),
		[...]string{"new", "paid", "shipped", "delivered"}[row%4],
		row%9000+100, row%100, row%60, row%1e6, g.events/60%60, g.events%60, g.events*7919%1e6)
	rest := `","lab_version":` + strconv.FormatInt(g.events, 10) + "}"
	if row%16 == 0 {
		text += `Café Zürich, \"ring twice\": `
	}
	from := int(row) % len(benchWords)
	note := benchText[from : from+benchRowBytes-len(text)-len(rest)]
	return text + note + rest
}

var benchHeaders = []kgo.RecordHeader{
	{Key: "__debezium.context.connectorLogicalName", Value: []byte("cdc")},
	{Key: "__debezium.context.taskId", Value: []byte("0")},
	{Key: "__debezium.context.connectorName", Value: []byte("postgresql")},
	{Key: "__debezium.context.runId", Value: []byte("01a205b2-12c4-77f8-bc86-fe3515b7b6aa")},
}

// The schema blocks, as JsonConverter writes schemas.
const (
	benchUUIDSchema = `{"type":"string","optional":false,"name":"io.debezium.data.Uuid",` +
		`"version":1,"field":`
	benchTimeSchema = `{"type":"string","optional":false,` +
		`"name":"io.debezium.time.ZonedTimestamp","version":1,` +
		`"default":"1970-01-01T00:00:00.000000Z","field":`
	benchKeySchema = `{"type":"struct","fields":[` + benchUUIDSchema + `"id"}],"optional":false,` +
		`"name":"` + benchTopic + `.Key"}`
	benchRowSchema = `{"type":"struct","fields":[` +
		benchUUIDSchema + `"id"},` + benchUUIDSchema + `"customer_id"},` +
		`{"type":"string","optional":false,"field":"status"},` +
		`{"type":"string","optional":false,"field":"total_amount"},` +
		benchTimeSchema + `"created_at"},` + benchTimeSchema + `"updated_at"},` +
		`{"type":"string","optional":true,"field":"note"},` +
		`{"type":"int64","optional":true,"field":"lab_version"}],` +
		`"optional":true,"name":"` + benchTopic + `.Value","field":`
	benchValueSchema = `{"type":"struct","fields":[` +
		benchRowSchema + `"before"},` + benchRowSchema + `"after"},` +
		benchSourceSchema + `"optional":false,"name":"` + benchTopic + `.Envelope","version":2}`
	// benchSourceSchema is the same for every table.
	benchSourceSchema = `{"type":"struct","fields":[` +
		`{"type":"string","optional":false,"field":"version"},` +
		`{"type":"string","optional":false,"field":"connector"},` +
		`{"type":"string","optional":false,"field":"name"},` +
		`{"type":"int64","optional":false,"field":"ts_ms"},` +
		`{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,` +
		`"parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,` +
		`last,false,incremental"},"default":"false","field":"snapshot"},` +
		`{"type":"string","optional":false,"field":"db"},` +
		`{"type":"string","optional":true,"field":"sequence"},` +
		`{"type":"int64","optional":true,"field":"ts_us"},` +
		`{"type":"int64","optional":true,"field":"ts_ns"},` +
		`{"type":"string","optional":false,"field":"schema"},` +
		`{"type":"string","optional":false,"field":"table"},` +
		`{"type":"int64","optional":true,"field":"txId"},` +
		`{"type":"int64","optional":true,"field":"lsn"},` +
		`{"type":"int64","optional":true,"field":"xmin"},` +
		`{"type":"string","optional":true,"field":"origin"},` +
		`{"type":"int64","optional":true,"field":"origin_lsn"}],"optional":false,` +
		`"name":"io.debezium.connector.postgresql.Source","version":1,"field":"source"},` +
		`{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},` +
		`{"type":"int64","optional":false,"field":"total_order"},` +
		`{"type":"int64","optional":false,"field":"data_collection_order"}],"optional":true,` +
		`"name":"event.block","version":1,"field":"transaction"},` +
		`{"type":"string","optional":false,"field":"op"},` +
		`{"type":"int64","optional":true,"field":"ts_ms"},` +
		`{"type":"int64","optional":true,"field":"ts_us"},` +
		`{"type":"int64","optional":true,"field":"ts_ns"}],`
)

// TestBenchLog: the log of the benchmarks equals Debezium's, in the promised sizes and shares.
func TestBenchLog(t *testing.T) {
	t.Parallel()
	for _, schemas := range []bool{false, true} {
		config := map[bool]string{false: "schemas-off", true: "schemas-on"}[schemas]
		captured := corpus.Find(t, config+"/insert").Records(t)[0].Value
		g, ops, bytesOf := newBenchLog(schemas), map[byte]int{}, 0
		const events = 20_000
		for range events {
			records := g.next()
			value := records[0].Value
			if !json.Valid(value) || !utf8.Valid(value) || !json.Valid(records[0].Key) {
				t.Fatalf("not JSON: %s", value)
			}
			op := value[bytes.Index(value, []byte(`"op":"`))+6]
			ops[op]++
			bytesOf += len(value)
			if tombstone := len(records) == 2; tombstone != (op == 'd') {
				t.Fatalf("%d records of a %c", len(records), op)
			}
		}
		if ops['c'] != events/4 || ops['u'] != events*60/100 || ops['d'] != events*15/100 {
			t.Errorf("schemas %t: %v operations", schemas, ops)
		}
		t.Logf("schemas %t: %d bytes a record", schemas, bytesOf/events)
		if row := g.row(7); len(row) != benchRowBytes {
			t.Errorf("a row has %d bytes: %s", len(row), row)
		}
		made := newBenchLog(schemas).next()[0]
		if got, want := skeleton(made.Value), skeleton(captured); got != want {
			t.Errorf("schemas %t:\ngot  %s\nwant %s", schemas, got, want)
		}
		if schemas && !bytes.Contains(captured, []byte(benchSourceSchema)) {
			t.Error("the schema of source is not the captured one")
		}
	}
}

var rowPart = regexp.MustCompile(`"after":\{[^}]*\}`)

// skeleton is a record without schema, row, name of the table and numbers.
func skeleton(value []byte) string {
	if at := bytes.Index(value, []byte(`"payload":`)); at >= 0 {
		value = value[at+len(`"payload":`) : len(value)-1]
	}
	text := rowPart.ReplaceAllString(string(value), `"after":{}`)
	text = regexp.MustCompile(`"table":"[a-z]*"`).ReplaceAllString(text, `"table":""`)
	return regexp.MustCompile(`[0-9]+`).ReplaceAllString(text, "0")
}
