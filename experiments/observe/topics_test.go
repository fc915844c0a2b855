package observe

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestDuplicates: the same change of the same row counts as a duplicate, whatever the clocks say;
// rows of one statement, and the two halves of a change of the key, do not.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(2, "cdc.public.customer", "cdc.public.order"),
		kfake.SeedTopics(1, "cdc.dead-letter"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	const source = `"source":{"schema":"public","table":"customer","txId":7,"lsn":100,"ts_ms":`
	for _, r := range []struct{ topic, key, value string }{
		{"cdc.public.customer", "1", `{"op":"c",` + source + `1},"ts_ms":5}`},
		{"cdc.public.customer", "2", `{"op":"c",` + source + `1},"ts_ms":5}`},
		{"cdc.public.customer", "1", `{"op":"d",` + source + `1},"ts_ms":5}`},
		{"cdc.public.customer", "1", ""},
		{"cdc.public.customer", "1", ""},
		{"cdc.public.customer", "1", `{"op":"c",` + source + `1},"ts_ms":9}`}, // again
		{"cdc.public.customer", "1", `{"schema":{},"payload":{"op":"d",` + source +
			`1},"ts_ms":9}}`}, // again
		{"cdc.public.customer", "1", `{"op":"r",` + source + `1}}`},
		{"cdc.public.customer", "1", `{"op":"r",` + source + `1}}`},
		{"cdc.public.order", "1", `{"op":"c","source":{"schema":"public","table":"order",` +
			`"txId":7,"lsn":100}}`},
		{"cdc.public.order", "1", "no JSON"},
		{"cdc.dead-letter", "1", `{"op":"c",` + source + `1}}`},
	} {
		record := &kgo.Record{Topic: r.topic, Key: []byte(r.key), Value: []byte(r.value)}
		if r.value == "" {
			record.Value = nil
		}
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	events, again, err := Redelivered(t.Context(), `^cdc\.public\..*`,
		kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil || events != 6 || again != 2 {
		t.Errorf("%d events, %d again, %v; want 6 and 2", events, again, err)
	}
	events, again, err = Redelivered(t.Context(), "^none$",
		kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil || events != 0 || again != 0 {
		t.Errorf("of no topic %d events, %d again, %v", events, again, err)
	}
}
