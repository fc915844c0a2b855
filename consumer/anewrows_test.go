package consumer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
)

// placed is a change of the invoice 1 with a place in the log as Debezium sends, so long after the
// time of the tests.
func placed(op debezium.Op, snapshot string, sequence [2]uint64, amount string,
	after time.Duration) *kgo.Record {
	row := consumertest.Columns("id", int64(1), "total_amount", amount)
	change := consumertest.ChangeOf("invoice", op, int(sequence[1]), row[:1], nil, row)
	change.Source.Snapshot, change.Source.Sequence = snapshot, sequence
	change.Source.TsUs += after.Microseconds()
	if change.Source.LSN = sequence[1]; snapshot != "" {
		change.Source.TxID = 0
	}
	if snapshot == debezium.SnapshotIncremental {
		change.Source.LSN = 0
	}
	record := consumertest.Wire(change, int(sequence[1]))
	record.Headers = nil
	return record
}

// TestSnapshotInTopicMadeAnewOverAnyRow: after a topic was made anew while no consumer ran, the row
// of a new snapshot is written, or the consumer says why not, whatever wrote the row before: an
// incremental snapshot, or the first transaction of a connector.
func TestSnapshotInTopicMadeAnewOverAnyRow(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]*kgo.Record{
		"incremental": placed(debezium.Read, debezium.SnapshotIncremental, [2]uint64{900, 2000},
			"1.00", 0),
		"first incremental": placed(debezium.Read, debezium.SnapshotIncremental,
			[2]uint64{0, 2000}, "1.00", 0),
		"first transaction": placed(debezium.Create, "", [2]uint64{0, 2000}, "1.00", 0),
		"transaction":       placed(debezium.Create, "", [2]uint64{1900, 2000}, "1.00", 0),
	} {
		for _, after := range []time.Duration{time.Second, time.Hour} {
			t.Run(fmt.Sprint(name, " ", after), func(t *testing.T) {
				t.Parallel()
				lab, s := newKafkaLab(t), documents.NewMemory()
				lab.makeTopic(t, invoices, 1)
				ready := lab.withPage(t)
				first := lab.run(t, s)
				for n := range 5 {
					lab.Produce(t, invoice(10+n))
				}
				record := *before
				lab.Produce(t, &record)
				consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
				first.end(t)
				lab.deleteTopic(t, invoices)
				lab.makeTopic(t, invoices, 1)
				lab.Produce(t, placed(debezium.Read, debezium.SnapshotTrue, [2]uint64{0, 5000},
					"9.00", after))
				lab.run(t, s)
				amount := func() string {
					return fmt.Sprint(consumertest.ReadDocument(s, "invoice", "1")["totalAmount"])
				}
				consumertest.Eventually(t, "the row of the snapshot, or an alarm", func() bool {
					_, text := ready()
					alarm := strings.Contains(text, "positions went back")
					return alarm && after < time.Minute || amount() == "9.00"
				})
			})
		}
	}
}
