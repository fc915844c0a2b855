package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/stack/servertest"
)

const (
	drainBatch  = 500 // records of a partition in a bulk, as the consumer's --batch-max
	drainRounds = 3
	// drainSeconds is how long the bare driver is meant to take for the topic.
	drainSeconds   = 6
	drainEventsMax = 200_000
)

// BenchmarkDrain drains a topic into each server found, beside the driver alone on the same server:
// the same guarded upserts, encoded beforehand, in unordered bulks of the same batches, a worker a
// partition. Both are in events per second of the wall clock, in turns; ratio is of the medians. A
// slower server gets a shorter topic.
//
//	go test ./consumer -run '^$' -bench Drain
func BenchmarkDrain(b *testing.B) {
	program := benchProgram(b)
	for _, s := range servertest.Mongos(b) {
		b.Run(s.Kind, func(b *testing.B) {
			uri := s.URI(b)
			partitions, flags := benchPartitions, []string{"--commit-interval", "100ms"}
			if s.Kind == "secantusd-py" {
				// As in the lab, because this server is faster with one connection than with
				// several.
				partitions, flags = 1, append(flags, "--mongo-pool-max", "1")
			}
			client := bareClient(b, uri, partitions)
			name := func(what string, n int) string {
				return fmt.Sprintf("drain-%s-%s-%d", s.Kind, what, n)
			}
			events := 1000
			for n, seconds := range []float64{drainSeconds / 4, drainSeconds} {
				// A fuller collection is slower, so that the second trial is nearer the truth.
				took := bareDrain(b, client, name("trial", n), bareBulks(b, events, partitions))
				events = min(int(seconds*float64(events)/took.Seconds()), drainEventsMax)
			}
			bulks := bareBulks(b, events, partitions)
			k := newBenchKafka(b, int32(partitions))
			k.produce(b, newBenchLog(false), events)
			var bare, consumer []float64
			var total drained
			b.ResetTimer()
			for n := range drainRounds {
				took := bareDrain(b, client, name("bare", n), bulks)
				bare = append(bare, float64(events)/took.Seconds())
				c := k.start(b, program, uri, name("consumer", n), flags...)
				d := c.drain(b)
				c.settled(b, events)
				sizes := c.metrics(b)[telemetry.MetricBatchSize].GetMetric()[0].GetHistogram()
				b.ReportMetric(sizes.GetSampleSum()/float64(sizes.GetSampleCount()),
					"records/batch")
				c.stop(b)
				dropDatabase(b, client, c.group)
				consumer = append(consumer, float64(events)/d.wall.Seconds())
				total.add(d)
			}
			b.Logf("%d events, bare %.0f, consumer %.0f events/s", events, bare, consumer)
			total.report(b, events*drainRounds)
			b.ReportMetric(middle(consumer), "events/s")
			b.ReportMetric(middle(bare), "bare-events/s")
			b.ReportMetric(middle(consumer)/middle(bare), "ratio")
		})
	}
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func bareClient(b *testing.B, uri string, workers int) *mongo.Client {
	b.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetMaxPoolSize(uint64(workers)).
		SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Disconnect(context.Background()) })
	return client
}

func dropDatabase(b *testing.B, client *mongo.Client, name string) {
	b.Helper()
	if err := client.Database(name).Drop(context.Background()); err != nil {
		b.Fatalf("drop %s: %v", name, err)
	}
}

// bareDrain writes each partition's bulks in order, into a new database.
func bareDrain(b *testing.B, client *mongo.Client, database string,
	bulks [][][]mongo.WriteModel) time.Duration {
	b.Helper()
	collection := client.Database(database).Collection(benchTable)
	// The consumer's collection has this index, and each write updates the index.
	if _, err := collection.Indexes().CreateOne(b.Context(),
		documents.TombstoneIndex(documents.DefaultConfig().TombstoneTTL)); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	var workers sync.WaitGroup
	for _, partition := range bulks {
		workers.Go(func() {
			for _, models := range partition {
				if _, err := collection.BulkWrite(context.Background(), models,
					options.BulkWrite().SetOrdered(false)); err != nil {
					b.Errorf("bare bulk: %v", err)
					return
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	dropDatabase(b, client, database)
	return took
}

// bareBulks are the bulks of each partition: its records in batches, the last of each row in a
// batch.
func bareBulks(b *testing.B, events, partitions int) [][][]mongo.WriteModel {
	b.Helper()
	to := kgo.StickyKeyPartitioner(nil).ForTopic(benchTopic)
	bulks := make([][][]mongo.WriteModel, partitions)
	type batch struct {
		records int
		at      map[string]int
		models  []mongo.WriteModel
	}
	open := make([]batch, partitions)
	log := newBenchLog(false)
	for range events {
		for n, r := range log.next() {
			p := to.Partition(r, partitions)
			if open[p].records++; n == 0 {
				id, model := bareUpsert(b, r)
				if at, there := open[p].at[id]; there {
					open[p].models[at] = model
				} else {
					if open[p].at == nil {
						open[p].at = map[string]int{}
					}
					open[p].at[id] = len(open[p].models)
					open[p].models = append(open[p].models, model)
				}
			}
			if open[p].records == drainBatch {
				bulks[p] = append(bulks[p], open[p].models)
				open[p] = batch{}
			}
		}
	}
	for p := range open {
		if len(open[p].models) > 0 {
			bulks[p] = append(bulks[p], open[p].models)
		}
	}
	return bulks
}

// bareUpsert is the guarded upsert of one event, in the shape of the consumer's own.
func bareUpsert(b *testing.B, r *kgo.Record) (string, mongo.WriteModel) {
	b.Helper()
	var event struct {
		Op     string
		TsMs   int64 `json:"ts_ms"`
		Source struct{ Sequence string }
		Before struct{ ID string }
		After  *struct {
			ID, Status, Note string
			Customer         string `json:"customer_id"`
			Total            string `json:"total_amount"`
			Created          string `json:"created_at"`
			Updated          string `json:"updated_at"`
			Version          int64  `json:"lab_version"`
		}
	}
	if err := json.Unmarshal(r.Value, &event); err != nil {
		b.Fatal(err)
	}
	var low, high int64
	if _, err := fmt.Sscanf(event.Source.Sequence, `["%d","%d"]`, &low, &high); err != nil {
		b.Fatalf("sequence %s: %v", event.Source.Sequence, err)
	}
	position, now := fmt.Sprintf("%04x%016x%016x", 0, low, high), time.UnixMilli(event.TsMs)
	set, id := bson.D{}, event.Before.ID
	metadata := bson.D{{Key: "sourceTimestamp", Value: event.TsMs},
		{Key: "operation", Value: "UPDATE"},
		{Key: "kafkaTopic", Value: benchTopic}, {Key: "kafkaPartition", Value: int32(0)},
		{Key: "kafkaOffset", Value: high}, {Key: "processedAt", Value: now},
		{Key: "position", Value: position}}
	if row := event.After; row != nil {
		// A table without a spec, and no schemas: texts stay texts.
		id = row.ID
		set = bson.D{{Key: "customerId", Value: row.Customer}, {Key: "status", Value: row.Status},
			{Key: "totalAmount", Value: row.Total}, {Key: "createdAt", Value: row.Created},
			{Key: "updatedAt", Value: row.Updated}, {Key: "note", Value: row.Note},
			{Key: "labVersion", Value: row.Version}}
	} else {
		metadata = append(metadata, bson.E{Key: "deleted", Value: true},
			bson.E{Key: "deletedAt", Value: now})
	}
	filter, update := encoded(b, bson.D{{Key: "_id", Value: id}, {Key: "cdcMetadata.position",
		Value: bson.D{{Key: "$lt", Value: position}}}}), encoded(b, bson.D{{Key: "$set",
		Value: append(set, bson.E{Key: "cdcMetadata", Value: metadata})}})
	return id, mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(update).SetUpsert(true)
}

func encoded(b *testing.B, d bson.D) bson.Raw {
	b.Helper()
	raw, err := bson.Marshal(d)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}
