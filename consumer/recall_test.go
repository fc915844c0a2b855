package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
)

// TestRestartRecalls: right after a restart the consumer knows the changes before. A change of a
// log that began anew raises the alarm, and a change that the connector sent again does not.
func TestRestartRecalls(t *testing.T) {
	t.Parallel()
	change := func(op debezium.Op, commit int, tx uint32) *kgo.Record {
		row := consumertest.Columns("id", int64(1), "total_amount", "1.50")
		one := consumertest.ChangeOf("invoice", op, commit, row[:1], nil, row)
		one.Source.TxID = tx
		return consumertest.Wire(one, commit)
	}
	for _, c := range []struct {
		record *kgo.Record
		alarms bool
	}{
		{change(debezium.Create, 70, 690), true},
		{change(debezium.Update, 100, 701), false},
	} {
		lab, s := newKafkaLab(t), documents.NewMemory()
		lab.makeTopic(t, invoices, 1)
		page := lab.withPage(t)
		first := lab.run(t, s)
		for n, commit := range []int{50, 100, 110} {
			lab.Produce(t, change(debezium.Update, commit, uint32(700+n)))
		}
		consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
		first.end(t)
		lab.Produce(t, c.record)
		second := lab.run(t, s)
		if c.alarms {
			consumertest.Eventually(t, "the alarm", func() bool {
				ok, text := page()
				return !ok && strings.Contains(text, "positions went back")
			})
		} else {
			consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
		}
		second.end(t)
	}
}

// TestSentAgainAfterPartitionsAdded: once a topic has more partitions, a row's changes go to
// another, and a change that the connector sends again comes there for the first time, behind a
// later change. That is no log that began anew, also right after a restart; a change met by no
// partition is.
func TestSentAgainAfterPartitionsAdded(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		lab, s := newKafkaLab(t), documents.NewMemory()
		lab.makeTopic(t, invoices, 2)
		page := lab.withPage(t)
		consumer := lab.run(t, s)
		const rows = 24
		send := func(commit int) {
			t.Helper()
			for id := range int64(rows) {
				lab.Produce(t, invoiceAt(id, commit+int(id)))
			}
		}
		settled := func() {
			t.Helper()
			consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
		}
		send(100)
		settled()
		if _, err := lab.Admin.UpdatePartitions(t.Context(), 3, invoices); err != nil {
			t.Fatal(err)
		}
		lab.Producer.ForceMetadataRefresh()
		consumertest.Eventually(t, "the new partition gets rows", func() bool {
			send(200)
			ends, err := lab.Admin.ListEndOffsets(t.Context(), invoices)
			at, _ := ends.Lookup(invoices, 2)
			return err == nil && at.Offset > 0
		})
		settled()
		if restarts {
			consumer.end(t)
			consumer = lab.run(t, s)
		}
		send(100)
		settled()
		if ok, text := page(); !ok {
			t.Errorf("after a restart %t: not ready: %s", restarts, text)
		}
		for id := range int64(rows) { // in every partition
			lab.Produce(t, invoiceAt(id, 150+int(id)))
		}
		consumertest.Eventually(t, "the alarm", func() bool {
			ok, text := page()
			return !ok && strings.Contains(text, "positions went back")
		})
		consumer.end(t)
	}
}

// invoiceAt is an update of an invoice, in the transaction of the commit, written now.
func invoiceAt(id int64, commit int) *kgo.Record {
	row := consumertest.Columns("id", id, "total_amount", "1.50")
	one := consumertest.ChangeOf("invoice", debezium.Update, commit, row[:1], nil, row)
	one.Source.TxID = uint32(commit)
	record := consumertest.Wire(one, commit)
	record.Timestamp = time.Now()
	return record
}
