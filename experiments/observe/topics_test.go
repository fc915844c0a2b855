package observe

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/reports"
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
	found, err := ReadAgain(t.Context(), `^cdc\.public\..*`, "cdc.dead-letter",
		kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil || found.Events != 6 || found.Again != 2 {
		t.Errorf("%+v, %v; want 6 events and 2 again", found, err)
	}
	found, err = ReadAgain(t.Context(), "^none$", "cdc.dead-letter",
		kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil || found != (Reread{}) {
		t.Errorf("of no topic %+v, %v", found, err)
	}
}

// TestMissingLetters: a record that nobody can read, and that has no dead letter, is missed. A
// second letter of the same record is no letter of another record.
func TestMissingLetters(t *testing.T) {
	t.Parallel()
	const topic, letters = "cdc.public.customer", "cdc.dead-letter"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic, letters))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	write := func(r *kgo.Record) {
		t.Helper()
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, value := range []string{"poison", `{"op":"c"}`, "poison", "poison"} {
		write(&kgo.Record{Topic: topic, Value: []byte(value)})
	}
	write(&kgo.Record{Topic: topic}) // a null record
	letter := func(offset string) {
		var headers []kgo.RecordHeader
		for _, h := range [][2]string{{deadletter.HeaderRule, "decode"},
			{deadletter.HeaderReason, "no JSON"}, {deadletter.HeaderTopic, topic},
			{deadletter.HeaderPartition, "0"}, {deadletter.HeaderOffset, offset},
			{deadletter.HeaderTimestamp, "1"}} {
			headers = append(headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
		write(&kgo.Record{Topic: letters, Value: []byte("poison"), Headers: headers})
	}
	look := func(want reports.Letters) {
		t.Helper()
		found, err := ReadAgain(t.Context(), "^"+topic+"$", letters,
			kgo.SeedBrokers(cluster.ListenAddrs()...))
		if err != nil || found.Letters != want {
			t.Errorf("%+v, %v; want %+v", found.Letters, err, want)
		}
	}
	look(reports.Letters{Unreadable: 3, Missing: 3, Example: topic + ", partition 0, offset 0"})
	letter("0")
	letter("0")
	letter("1") // of a readable record, which a rule refused
	look(reports.Letters{Unreadable: 3, Missing: 2, Example: topic + ", partition 0, offset 2"})
	letter("2")
	letter("3")
	look(reports.Letters{Unreadable: 3})
}
