package kafka

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
)

const readTopic = "cdc.public.thing"

// makeThings makes the topic anew, with so many records.
func makeThings(t *testing.T, k *consumertest.Kafka, records int) {
	t.Helper()
	if k.Cluster.TopicInfo(readTopic) != nil {
		if err := k.Cluster.DeleteTopic(readTopic); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Cluster.CreateTopic(readTopic, 1, nil); err != nil {
		t.Fatal(err)
	}
	k.Producer.PurgeTopicsFromClient(readTopic)
	for range records {
		k.Produce(t, &kgo.Record{Topic: readTopic, Value: []byte("v")})
	}
}

// TestTopicMadeAnewWhileRead: a topic made anew after the look at its offsets ends the reading. The
// error says what to do. No record of the topic made anew is taken for a record of
// the topic before.
func TestTopicMadeAnewWhileRead(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the first record", "while following"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			k := consumertest.StartKafka(t)
			makeThings(t, k, 2)
			ctx, cancel := context.WithTimeout(t.Context(), consumertest.Patience)
			defer cancel()
			whole, err := Whole(ctx, k.Producer, readTopic)
			if err != nil {
				t.Fatal(err)
			}
			read := 0
			visit := func(*kgo.Record) error {
				if read++; when == "while following" {
					makeThings(t, k, 2)
				}
				return nil
			}
			if when == "while following" {
				k.Produce(t, &kgo.Record{Topic: readTopic, Value: []byte("v")})
				_, err = Read(ctx, k.Producer, whole.After(), visit)
			} else {
				makeThings(t, k, 2)
				_, err = Read(ctx, k.Producer, whole, visit)
			}
			want := map[string]int{"while following": 1}[when]
			if err == nil || !strings.Contains(err.Error(), "made anew") || read != want ||
				!strings.Contains(err.Error(), "begin again") {
				t.Errorf("%d records, and the error is %v", read, err)
			}
		})
	}
}

// TestStretch: a part of a partition is read up to the part's end.
func TestStretch(t *testing.T) {
	t.Parallel()
	k := consumertest.StartKafka(t)
	makeThings(t, k, 6)
	var offsets []int64
	short, err := Read(t.Context(), k.Producer, Stretch(readTopic, 0, 2, 5),
		func(r *kgo.Record) error { offsets = append(offsets, r.Offset); return nil })
	if err != nil || short != nil || len(offsets) != 3 || offsets[0] != 2 {
		t.Errorf("read %v, %v, %v", offsets, short, err)
	}
}
