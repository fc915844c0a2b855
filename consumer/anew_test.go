package consumer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/incarnation"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// anewRounds asks for so many rounds of TestTopicMadeAnew, each with a bound on the time until the
// first row.
const anewRounds = "CDCLAB_ANEW_ROUNDS"

const invoices = "cdc.public.invoice"

func invoice(id int) *kgo.Record {
	row := consumertest.Columns("id", int64(id), "total_amount", "1.50")
	return consumertest.Record("invoice", consumertest.Insert, id, row[:1], nil, row)
}

// countLines counts what is written through.
type countLines struct {
	to io.Writer
	mu sync.Mutex
	n  int
}

func (c *countLines) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += bytes.Count(text, []byte("\n"))
	return c.to.Write(text)
}

func (c *countLines) lines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (l *kafkaLab) makeTopic(t *testing.T, topic string, partitions int32) {
	t.Helper()
	if err := l.Cluster.CreateTopic(topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	l.Producer.PurgeTopicsFromClient(topic)
}

func (l *kafkaLab) deleteTopic(t *testing.T, topic string) {
	t.Helper()
	if err := l.Cluster.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
}

// withPage gives the next consumer a file for its address, and returns a reader of its /readyz.
func (l *kafkaLab) withPage(t *testing.T) (ready func() (ok bool, text string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "address")
	l.config.ListenFile = file
	return func() (bool, string) {
		address, _ := os.ReadFile(file)
		response, err := http.Get("http://" + strings.TrimSpace(string(address)) + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return false, err.Error()
		}
		return response.StatusCode == http.StatusOK, string(text)
	}
}

// TestTopicMadeAnew deletes and creates a topic again and again, fast and slow and with other
// numbers of partitions, while two members read and others write.
func TestTopicMadeAnew(t *testing.T) {
	t.Parallel()
	rounds, bound := 6, consumertest.Patience
	lab, s := newKafkaLab(t), documents.NewMemory()
	lab.makeTopic(t, invoices, 2)
	outputs := [2]*countLines{{to: t.Output()}, {to: t.Output()}}
	members, ready := lab.runTwo(t, s, outputs)
	endLoad := writeCustomers(t, lab)
	for n := range 50 {
		lab.Produce(t, invoice(n+1))
	}
	consumertest.Eventually(t, "the members are ready", ready)
	if asked := os.Getenv(anewRounds); asked != "" { // on a machine that has nothing else to do
		rounds, _ = strconv.Atoi(asked)
		bound = lab.config.MetadataMaxAge + time.Second
	}
	for round := 1; round <= rounds; round++ {
		before := outputs[0].lines() + outputs[1].lines()
		lab.deleteTopic(t, invoices)
		if round%3 == 0 { // slow: each member noticed
			consumertest.Eventually(t, "the topic is known to be gone", func() bool {
				return members[0].unread(t) == 1 && members[1].unread(t) == 1
			})
		}
		lab.makeTopic(t, invoices, int32(1+round%3))
		began, first := time.Now(), time.Duration(0)
		const each = 50
		for n := range each {
			lab.Produce(t, invoice(1000*round+n))
		}
		for n := range each {
			consumertest.Eventually(t, "each row of the new topic", func() bool {
				return consumertest.ReadDocument(s, "invoice", strconv.Itoa(1000*round+n)) != nil
			})
			if n == 0 {
				first = time.Since(began)
			}
		}
		if first > bound {
			t.Errorf("round %d: the first row after %v, want %v", round, first, bound)
		}
		consumertest.Eventually(t, "ready again", ready)
		n := outputs[0].lines() + outputs[1].lines() - before
		if n > 40 {
			t.Errorf("round %d: %d lines of log", round, n)
		}
		t.Logf("round %d: first row after %v, all read and ready after %v, %d lines", round,
			first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), n)
	}
	written := endLoad()
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range written {
		if consumertest.ReadDocument(s, "customers", consumertest.UUID(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
	for _, member := range members {
		if n := consumertest.ValueOf(t, member.metrics.TopicsAnew); n != float64(rounds) {
			t.Errorf("%v topics made anew were counted, want %d", n, rounds)
		}
	}
}

// runTwo runs two members of the group; ready returns true if both say so.
func (l *kafkaLab) runTwo(t *testing.T, s documents.Store, outputs [2]*countLines) (
	members [2]*running, ready func() bool) {
	t.Helper()
	var pages [2]func() (bool, string)
	for i := range members {
		pages[i] = l.withPage(t)
		l.config.Output = outputs[i]
		members[i] = l.run(t, s)
	}
	return members, func() bool {
		one, _ := pages[0]()
		two, _ := pages[1]()
		return one && two
	}
}

// writeCustomers writes to another topic until the end is asked for; end returns the number.
func writeCustomers(t *testing.T, lab *kafkaLab) (end func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			lab.Produce(t, consumertest.Customer(consumertest.Insert, n, n+1, "x@x"))
			n++
		}
		done <- n
	}()
	return func() int { cancel(); return <-done }
}

// TestTopicDeleted: /readyz and a metric tell of a topic that was deleted, without a spin, until
// somebody makes the topic again.
func TestTopicDeleted(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	lab.makeTopic(t, invoices, 2)
	output := &countLines{to: t.Output()}
	page := lab.withPage(t)
	lab.config.Output = output
	r := lab.run(t, s)
	lab.Produce(t, invoice(1))
	consumertest.Eventually(t, "ready", func() bool { ok, _ := page(); return ok })
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	lab.deleteTopic(t, invoices)
	consumertest.Eventually(t, "not ready", func() bool {
		ok, text := page()
		return !ok && strings.Contains(text, invoices)
	})
	if n := r.unread(t); n != 1 {
		t.Errorf("%v topics are not read, want 1", n)
	}
	began, lines := time.Now(), output.lines()
	looks := lab.Cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeGroups}, Count: -1,
		Observe: true})
	all := lab.Cluster.Fault(kfake.Fault{Count: -1, Observe: true, Keys: []kmsg.Key{kmsg.Fetch,
		kmsg.Metadata, kmsg.JoinGroup, kmsg.Produce, kmsg.OffsetCommit}})
	if err := looks.Wait(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	seconds := time.Since(began).Seconds()
	if hits := float64(all.Hits()); hits > 40*seconds {
		t.Errorf("%v requests in %.1f s", hits, seconds)
	}
	if n := output.lines() - lines; n > 3 {
		t.Errorf("%d lines of log in %.1f s", n, seconds)
	}
	lab.makeTopic(t, invoices, 1)
	lab.Produce(t, invoice(2))
	consumertest.Eventually(t, "the row of the new topic", func() bool {
		return consumertest.ReadDocument(s, "invoice", "2") != nil
	})
	consumertest.Eventually(t, "ready again", func() bool { ok, _ := page(); return ok })
}

// TestTopicMadeAnewWhileDown: an offset that a member of the group committed late, of the topic
// that was deleted, is not resumed at, and the group's offset is put right.
func TestTopicMadeAnewWhileDown(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	lab.makeTopic(t, invoices, 1)
	interval := lab.config.CommitInterval
	lab.config.CommitInterval = time.Hour // only the end commits
	first := lab.run(t, s)
	for n := range 5 {
		lab.Produce(t, invoice(n+1))
	}
	consumertest.Eventually(t, "all applied", func() bool {
		return consumertest.ReadDocument(s, "invoice", "5") != nil
	})
	first.end(t)
	lab.config.CommitInterval = interval
	ctx := context.Background()
	old, err := lab.Admin.FetchOffsets(ctx, lab.config.Group)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := old.Lookup(invoices, 0)
	lab.deleteTopic(t, invoices)
	lab.makeTopic(t, invoices, 1)
	for n := range 9 {
		lab.Produce(t, invoice(100+n))
	}
	late := kadm.Offsets{}
	late.AddOffset(invoices, 0, before.At, -1)
	late[invoices][0] = kadm.Offset{Topic: invoices, At: before.At, LeaderEpoch: -1,
		Metadata: before.Metadata}
	if err := lab.Admin.CommitAllOffsets(ctx, lab.config.Group, late); err != nil {
		t.Fatal(err)
	}
	lab.run(t, s)
	for n := range 9 {
		consumertest.Eventually(t, "each row", func() bool {
			return consumertest.ReadDocument(s, "invoice", strconv.Itoa(100+n)) != nil
		})
	}
	consumertest.Eventually(t, "the group's offset is the new topic's", func() bool {
		now, err := lab.Admin.FetchOffsets(ctx, lab.config.Group)
		if err != nil {
			return false
		}
		at, _ := now.Lookup(invoices, 0)
		return at.At == 9 && at.Metadata != before.Metadata &&
			incarnation.IsOfAnother(incarnation.ID{1}, at.Metadata)
	})
}

// TestSnapshotInTopicMadeAnew: offsets of the topic before do not make the rows of a new snapshot
// stale, also after a restart.
func TestSnapshotInTopicMadeAnew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		restart bool
		tick    int64 // of the connector's clock, in microseconds
	}{{false, 1000}, {true, 1000}, {false, 0}, {true, 0}} {
		restart := c.restart
		t.Run(fmt.Sprintf("restart %t, clock by %d", restart, c.tick), func(t *testing.T) {
			t.Parallel()
			lab, s := newKafkaLab(t), documents.NewMemory()
			lab.makeTopic(t, invoices, 1)
			first := lab.run(t, s)
			change := func(op debezium.Op, id, lsn int, amount string) *kgo.Record {
				row := consumertest.Columns("id", int64(id), "total_amount", amount)
				change := consumertest.ChangeOf("invoice", op, lsn, row[:1], nil, row)
				change.Source.LSN = uint64(lsn)
				change.Source.TsUs += c.tick * int64(lsn)
				record := consumertest.Wire(change, lsn)
				if op == debezium.Read {
					change.Source.Snapshot = debezium.SnapshotFirst
					record = consumertest.Wire(change, lsn)
					record.Headers = nil // a snapshot's row has no place in the log
				}
				return record
			}
			for n := range 5 {
				lab.Produce(t, change(consumertest.Insert, 10+n, 1000+n, "1.00"))
			}
			lab.Produce(t, change(consumertest.Insert, 1, 2000, "1.00"))
			consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
			if restart {
				first.end(t)
			}
			lab.deleteTopic(t, invoices)
			lab.makeTopic(t, invoices, 1)
			lab.Produce(t, change(debezium.Read, 1, 5000, "9.00"))
			if restart {
				lab.run(t, s)
			}
			consumertest.Eventually(t, "all committed again", func() bool {
				return lab.lag(t) == 0
			})
			document := consumertest.ReadDocument(s, "invoice", "1")
			if got := fmt.Sprint(document["totalAmount"]); got != "9.00" {
				t.Errorf("the row is %v, want the snapshot's", document)
			}
		})
	}
}

// TestDeadLetterTopicMadeAnew: a letter arrives in the new topic, however the topic was made.
func TestDeadLetterTopicMadeAnew(t *testing.T) {
	t.Parallel()
	poison := func(n int) *kgo.Record {
		return &kgo.Record{Topic: "cdc.public.customer", Key: []byte(strconv.Itoa(n)),
			Value: []byte("{")}
	}
	for _, how := range []string{"fast", "slow", "by the consumer"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			lab, s := newKafkaLab(t), documents.NewMemory()
			page := lab.withPage(t)
			r := lab.run(t, s)
			lab.Produce(t, poison(1))
			lab.letters(t, 1)
			consumertest.Eventually(t, "ready", func() bool { ok, _ := page(); return ok })
			lab.deleteTopic(t, lab.config.DeadLetterTopic)
			if how == "fast" {
				lab.makeTopic(t, lab.config.DeadLetterTopic, 1)
			}
			lab.Produce(t, poison(2))
			if how != "fast" {
				consumertest.Eventually(t, "not ready", func() bool {
					ok, text := page()
					return !ok && strings.Contains(text, lab.config.DeadLetterTopic)
				})
			}
			if how == "slow" {
				lab.makeTopic(t, lab.config.DeadLetterTopic, 1)
			}
			consumertest.Eventually(t, "ready again", func() bool { ok, _ := page(); return ok })
			if got := string(lab.letters(t, 1)[0].Key); got != "2" {
				t.Errorf("the letter is of %s", got)
			}
			consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
			if n := r.sum(t, telemetry.OutcomeDeadLetter); n != 2 {
				t.Errorf("%v events are dead letters, want 2", n)
			}
		})
	}
}
