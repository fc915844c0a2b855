package consumer

import (
	"strings"
	"testing"

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
