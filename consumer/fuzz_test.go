package consumer

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// FuzzApply: whatever bytes a record is made of, it comes to an end, twice to the same, and the rows
// beside it come to theirs.
func FuzzApply(f *testing.F) {
	for folder, cases := range corpusCases(f) {
		for _, c := range cases {
			records := recording(f, filepath.Join(folder, c.File))
			for i, r := range records {
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
	}
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte) {
		p := newPipeline()
		fuzzed := func() *kgo.Record {
			return &kgo.Record{Topic: "cdc.public.customer", Key: bytes.Clone(key), Value: bytes.Clone(value), Offset: 5,
				Timestamp: testTime, Headers: []kgo.RecordHeader{{Key: name, Value: bytes.Clone(header)}}}
		}
		p.settle(t, customer(insert, 1, 1, "a@x.org"), fuzzed(), customer(insert, 2, 2, "b@x.org"))
		before := p.everything(t)
		letters := len(p.letters)
		p.settle(t, fuzzed())
		if len(p.letters) < letters || len(p.letters) > 2*letters {
			t.Errorf("%d dead letters of the same record twice, %d of it once", len(p.letters), letters)
		}
		if after := p.everything(t); !bytes.Equal(after, before) {
			t.Errorf("taken again it changed\n%.2000s\ninto\n%.2000s", before, after)
		}
	})
}

// settle takes records to their ends, as if all the time in the world passed.
func (p *pipeline) settle(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	p.planner.plan(&p.job, p.batch(records...))
	for attempt := 0; ; attempt++ {
		err := p.partition.settler.try(context.Background(), &p.job)
		if err == nil {
			break
		}
		if fateOf(err) == stop || attempt > 3 {
			t.Fatal(err)
		}
		p.clock = p.clock.Add(2 * keyChangeBound)
	}
	p.tick(t, 2*keyChangeBound)
	if p.partition.settler.parking.count > 0 {
		t.Fatalf("%d still parked", p.partition.settler.parking.count)
	}
}

// everything is all documents as text.
func (p *pipeline) everything(t *testing.T) []byte {
	t.Helper()
	r := &replay{options: ReplayOptions{Tombstones: true}, consumer: &Consumer{store: p.memory}}
	var out bytes.Buffer
	if err := r.print(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	for _, documents := range p.memory.documents {
		for id, document := range documents {
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
