package apply

import (
	"bytes"
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium/corpus"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/order"
)

// FuzzApply: a record of any bytes comes to an end, twice to the same, and the rows beside the
// record come to an end, too.
func FuzzApply(f *testing.F) {
	for _, c := range corpus.Cases(f) {
		for i, r := range c.Records(f) {
			if i >= 6 {
				break
			}
			var name string
			var header []byte
			if len(r.Headers) > 0 {
				name, header = r.Headers[0].Key, r.Headers[0].Value
			}
			f.Add(r.Key, r.Value, name, header)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte) {
		p := newPipeline()
		fuzzed := func() *kgo.Record {
			return &kgo.Record{Topic: "cdc.public.customer", Key: bytes.Clone(key),
				Value: bytes.Clone(value), Offset: 5,
				Timestamp: consumertest.Time,
				Headers:   []kgo.RecordHeader{{Key: name, Value: bytes.Clone(header)}}}
		}
		p.toTheEnd(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x.org"), fuzzed(),
			consumertest.Customer(consumertest.Insert, 2, 2, "b@x.org"))
		before := p.everything(t)
		letters := len(p.letters)
		p.toTheEnd(t, fuzzed())
		if len(p.letters) < letters || len(p.letters) > 2*letters {
			t.Errorf("%d dead letters of the same record twice, %d of it once", len(p.letters),
				letters)
		}
		if after := p.everything(t); !bytes.Equal(after, before) {
			t.Errorf("taken again it changed\n%.2000s\ninto\n%.2000s", before, after)
		}
	})
}

// toTheEnd takes records to their ends, as if all the time in the world passed.
func (p *pipeline) toTheEnd(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	p.Take(p.batch(records...))
	for attempt := 0; ; attempt++ {
		err := p.Step(context.Background())
		if err == nil {
			break
		}
		if order.AlarmOf(err) != "" {
			t.Skip("the record is of another log, and waits for the operator")
		}
		if fate.Of(err) == fate.Stop || attempt > 3 {
			t.Fatal(err)
		}
		p.clock = p.clock.Add(2 * keyChangeBound)
	}
	p.tick(t, 2*keyChangeBound)
	if p.parking.count > 0 {
		t.Fatalf("%d still parked", p.parking.count)
	}
}

// everything is all documents as text.
func (p *pipeline) everything(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := documents.Print(context.Background(), p.memory, true, &out); err != nil {
		t.Fatal(err)
	}
	for _, rows := range p.memory.Documents {
		for id, document := range rows {
			raw, err := bson.Marshal(document)
			if err == nil {
				err = bson.Raw(raw).Validate()
			}
			if err != nil {
				t.Fatalf("document %q: %v", id, err)
			}
		}
	}
	return out.Bytes()
}
