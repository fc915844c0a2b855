package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/incarnation"
)

// TestRetiredPartition: of a topic that was deleted no offset is marked any more, and no record is
// taken.
func TestRetiredPartition(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	c, err := newConsumer(lab.config, documents.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRouter(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	p := r.newPartition(r.client, invoices, 0)
	r.partitions[invoices] = map[int32]*partition{0: p}
	if !r.readsTopic(p, incarnation.ID{1}) {
		t.Error("records of a topic are not taken")
	}
	p.mark(0, 3)
	r.retireTopic(invoices)
	p.mark(0, 5)
	if at := r.client.MarkedOffsets()[invoices][0].Offset; at != 3 {
		t.Errorf("offset %d is to be committed, want 3", at)
	}
	if r.readsTopic(p, incarnation.ID{1}) || r.watch.ID(invoices) != (incarnation.ID{1}) {
		t.Error("records of a deleted topic are taken")
	}
}

// TestStrayRecords: records of a topic made anew may come without an assignment; of any other topic
// going on would lose the records.
func TestStrayRecords(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	c, err := newConsumer(lab.config, documents.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	r, err := newRouter(c, nil, func(error) { stopped++ })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	stray := func(topic string) {
		r.pushToPartition(kgo.FetchTopic{Topic: topic, TopicID: incarnation.ID{1}},
			kgo.FetchPartition{Records: []*kgo.Record{{Topic: topic}}}, consumertest.Time)
	}
	r.watch.Forget(invoices)
	stray(invoices)
	if stopped != 0 {
		t.Error("stopped by records of a topic made anew")
	}
	stray("cdc.public.customer")
	if stopped != 1 {
		t.Error("went on behind records that nobody takes")
	}
}

// TestAssignedTwice: a partition that comes without a revocation ends its predecessor, and is
// fetched.
func TestAssignedTwice(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	c, err := newConsumer(lab.config, documents.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	letters, err := deadletter.Open(nil, "letters", "group")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(letters.Close)
	r, err := newRouter(c, letters, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	added := map[string][]int32{invoices: {0}}
	r.partitionsAssigned(t.Context(), r.client, added)
	first := r.partitions[invoices][0]
	first.pause()
	r.partitionsAssigned(t.Context(), r.client, added)
	select {
	case <-first.done:
	default:
		t.Error("the first goes on")
	}
	if paused := r.client.PauseFetchPartitions(nil); len(paused) > 0 {
		t.Errorf("%v are paused", paused)
	}
	r.finishPartitions(r.removePartitions(added))
}
