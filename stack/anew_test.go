package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// anewRoundsEnv asks for so many rounds of TestTopicMadeAnew.
const anewRoundsEnv = "CDCLAB_ANEW_ROUNDS"

const (
	anewTopic   = "anew.public.row"
	otherTopic  = "anew.public.other"
	anewLetters = "letters-anew"
	// metadataAge is the consumer's default --metadata-max-age.
	metadataAge = 2 * time.Second
	// idleFor is how long a consumer is watched while its topic is gone.
	idleFor = 10 * time.Second
	roundOf = 200 // rows
)

// anewLab is two consumers of one group and their topics, beside a Stack's own.
type anewLab struct {
	*Stack
	ctx     context.Context
	members [2]*SideConsumer
	admin   *kadm.Client
	writer  *kgo.Client
	lsn     int
}

// TestTopicMadeAnew deletes and creates a topic again and again under load, on the embedded Kafka.
func TestTopicMadeAnew(t *testing.T) {
	newAnewLab(t, testOptions(t)).remakeTopics(t, 3)
}

// TestNativeTopicMadeAnew is TestTopicMadeAnew on a real Kafka.
func TestNativeTopicMadeAnew(t *testing.T) {
	newAnewLab(t, nativeOptions(t)).remakeTopics(t, 20)
}

func newAnewLab(t *testing.T, options Options) *anewLab {
	t.Helper()
	s := upForTest(t, options)
	lab := &anewLab{Stack: s, ctx: nativeContext(t), lsn: 1000}
	client, err := kgo.NewClient(append(s.Endpoints().KafkaLogin.Options(),
		kgo.SeedBrokers(s.Endpoints().KafkaBrokers...), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	lab.writer, lab.admin = client, kadm.NewClient(client)
	lab.create(t, anewTopic, 2)
	lab.create(t, otherTopic, 1)
	for i := range lab.members {
		lab.members[i] = s.SideConsumer("anew-"+strconv.Itoa(i), s.Endpoints().MongoURI,
			"--group", "anew", "--database", "anew", "--topics", `^anew\.`,
			"--dead-letter-topic", anewLetters)
		if err := lab.members[i].Start(lab.ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { lab.showLogs(t) })
	return lab
}

func (l *anewLab) create(t *testing.T, topic string, partitions int32) {
	t.Helper()
	expect.Before(l.ctx, t, "the topic is created", func() error {
		_, err := l.admin.CreateTopic(l.ctx, partitions, 1, nil, topic)
		return err
	})
	l.writer.PurgeTopicsFromClient(topic)
}

func (l *anewLab) delete(t *testing.T, topic string) {
	t.Helper()
	if _, err := l.admin.DeleteTopic(l.ctx, topic); err != nil {
		t.Fatal(err)
	}
}

// row returns the event of an inserted row.
func (l *anewLab) row(topic string, id int) *kgo.Record {
	l.lsn += 8
	table := topic[len("anew.public."):]
	return &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, `{"id":%d}`, id),
		Value: fmt.Appendf(nil, `{"before":null,"after":{"id":%d,"v":"%d"},"source":{`+
			`"version":"3.6.3.Final","connector":"postgresql","name":"anew","ts_ms":%d,`+
			`"snapshot":"false","db":"lab","sequence":"[\"%d\",\"%d\"]","schema":"public",`+
			`"table":%q,"txId":%d,"lsn":%d},"op":"c","ts_ms":%d}`, id, id,
			time.Now().UnixMilli(), l.lsn-8, l.lsn, table, l.lsn/8, l.lsn,
			time.Now().UnixMilli())}
}

func (l *anewLab) write(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	if err := l.writer.ProduceSync(l.ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (l *anewLab) rows(topic string, from, n int) (all []*kgo.Record) {
	for id := range n {
		all = append(all, l.row(topic, from+id))
	}
	return all
}

// missing returns how many of n rows have no document.
func (l *anewLab) missing(t *testing.T, collection string, from, n int) int {
	t.Helper()
	ids := bson.A{}
	for id := range n {
		ids = append(ids, strconv.Itoa(from+id))
	}
	found, err := servertest.MongoClient(t, l.Endpoints().MongoURI).Database("anew").
		Collection(collection).CountDocuments(l.ctx, bson.M{"_id": bson.M{"$in": ids}})
	if err != nil {
		t.Fatal(err)
	}
	return n - int(found)
}

// readiness is nil if so many members are ready, else an error with what each says.
func (l *anewLab) readiness(want int) error {
	ready, texts := 0, []string{}
	for _, member := range l.members {
		response, err := http.Get(member.url("/readyz"))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return err
		}
		if response.StatusCode == http.StatusOK {
			ready++
		}
		texts = append(texts, strings.TrimSpace(string(text)))
	}
	if ready != want {
		return fmt.Errorf("want %d ready: %q", want, texts)
	}
	return nil
}

// showLogs shows the members' logs of a test that failed.
func (l *anewLab) showLogs(t *testing.T) {
	for _, member := range l.members {
		text, err := os.ReadFile(l.folder.File(member.Name() + ".log"))
		if t.Failed() {
			t.Logf("%s, %v:\n%s", member.Name(), err, text)
		}
	}
}

// used returns the CPU seconds and log lines of a member until now.
func (l *anewLab) used(t *testing.T, member *SideConsumer) (cpu float64, lines int) {
	t.Helper()
	p, err := process.NewProcess(int32(member.PIDs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	times, err := p.Times()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(l.folder.File(member.Name() + ".log"))
	if err != nil {
		t.Fatal(err)
	}
	return times.User + times.System, bytes.Count(text, []byte("\n"))
}

// remakeTopics makes the data topic anew so many times under load, then leaves the topic deleted
// for a while, then makes the dead-letter topic anew.
func (l *anewLab) remakeTopics(t *testing.T, rounds int) {
	if asked := os.Getenv(anewRoundsEnv); asked != "" {
		rounds, _ = strconv.Atoi(asked)
	}
	l.write(t, l.rows(anewTopic, 1, roundOf)...)
	began, lines := time.Now(), [2]int{}
	for i, member := range l.members {
		_, lines[i] = l.used(t, member)
	}
	others, worst := 0, time.Duration(0)
	// Each topic has its few lines, so that a rate of lines needs a rate of topics.
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for round := 1; round <= rounds; round++ {
		for n := range roundOf { // on their way while the topic goes
			l.writer.Produce(l.ctx, l.row(anewTopic, 1_000_000*round+n), nil)
		}
		l.write(t, l.rows(otherTopic, others, roundOf)...)
		others += roundOf
		l.delete(t, anewTopic)
		gone := time.Now()
		if round%2 == 0 {
			expect.Before(l.ctx, t, "both tell that the topic is gone", func() error {
				return l.readiness(0)
			})
		}
		l.create(t, anewTopic, int32(1+round%3))
		first, all := l.readAnew(t, 1000*round)
		worst = max(worst, first)
		t.Logf("round %d: gone for %v, first row after %v, all rows after %v", round,
			time.Since(gone).Round(time.Millisecond)-all.Round(time.Millisecond),
			first.Round(time.Millisecond), all.Round(time.Millisecond))
		if first > metadataAge+time.Second {
			t.Errorf("round %d: the first row after %v", round, first)
		}
		<-second.C
	}
	if n := l.missing(t, "other", 0, others); n > 0 {
		expect.Before(l.ctx, t, "the other topic's rows are there", func() error {
			if n = l.missing(t, "other", 0, others); n > 0 {
				return fmt.Errorf("%d are missing", n)
			}
			return nil
		})
	}
	for i, member := range l.members {
		_, now := l.used(t, member)
		rate := float64(now-lines[i]) / time.Since(began).Seconds()
		t.Logf("%s: %.1f lines of log a second", member.Name(), rate)
		if rate > 10 {
			t.Errorf("%s logged %.1f lines a second", member.Name(), rate)
		}
	}
	t.Logf("%d rounds, worst first row %v", rounds, worst.Round(time.Millisecond))
	l.leaveDeleted(t, 1000*(rounds+1))
	l.remakeLetters(t)
}

// readAnew writes rows to the new topic, and returns when the first and the last was there.
func (l *anewLab) readAnew(t *testing.T, from int) (first, all time.Duration) {
	t.Helper()
	created := time.Now()
	l.write(t, l.rows(anewTopic, from, roundOf)...)
	expect.Before(l.ctx, t, "all rows of the new topic are there", func() error {
		n := l.missing(t, "row", from, roundOf)
		if n < roundOf && first == 0 {
			first = time.Since(created)
		}
		if n > 0 {
			return fmt.Errorf("%d are missing", n)
		}
		return nil
	})
	expect.Before(l.ctx, t, "both are ready", func() error {
		return l.readiness(2)
	})
	return first, time.Since(created)
}

// leaveDeleted watches the consumers while their topic is gone.
func (l *anewLab) leaveDeleted(t *testing.T, from int) {
	t.Helper()
	l.delete(t, anewTopic)
	expect.Before(l.ctx, t, "both tell that the topic is gone", func() error {
		return l.readiness(0)
	})
	var cpu [2]float64
	var lines [2]int
	for i, member := range l.members {
		cpu[i], lines[i] = l.used(t, member)
	}
	began := time.Now()
	<-time.After(idleFor)
	if err := l.readiness(0); err != nil {
		t.Error(err)
	}
	for i, member := range l.members {
		usedNow, linesNow := l.used(t, member)
		seconds := time.Since(began).Seconds()
		core, rate := (usedNow-cpu[i])/seconds, float64(linesNow-lines[i])/seconds
		t.Logf("%s, topic gone for %.0f s: %.1f %% of a core, %.2f lines a second", member.Name(),
			seconds, 100*core, rate)
		if core > 0.05 || rate > 1 {
			t.Errorf("%s spins", member.Name())
		}
	}
	l.create(t, anewTopic, 1)
	l.readAnew(t, from)
}

// remakeLetters makes the dead-letter topic anew, at once and after a while.
func (l *anewLab) remakeLetters(t *testing.T) {
	t.Helper()
	for n, slow := range []bool{false, true} {
		l.delete(t, anewLetters)
		if slow {
			expect.Before(l.ctx, t, "both tell that the dead-letter topic is gone", func() error {
				return l.readiness(0)
			})
		}
		_, err := l.admin.CreateTopic(l.ctx, 1, 1, nil, anewLetters)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		l.write(t, &kgo.Record{Topic: anewTopic, Key: []byte(strconv.Itoa(n)), Value: []byte("{")})
		expect.Before(l.ctx, t, "the letter is there", func() error {
			ends, err := l.admin.ListEndOffsets(l.ctx, anewLetters)
			if err != nil {
				return err
			}
			if end, _ := ends.Lookup(anewLetters, 0); end.Err != nil || end.Offset != 1 {
				return fmt.Errorf("%d letters, %v", end.Offset, end.Err)
			}
			return nil
		})
		t.Logf("dead-letter topic, slow %t: letter after %v", slow,
			time.Since(began).Round(time.Millisecond))
	}
}
