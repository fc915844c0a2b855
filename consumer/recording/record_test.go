package recording

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium/corpus"
	"github.com/cdclab/cdclab/consumer/kafka"
)

// TestRecordingOfCorpus: every record a real Debezium sent is the same after being written and
// read.
func TestRecordingOfCorpus(t *testing.T) {
	t.Parallel()
	n := 0
	for _, c := range corpus.Cases(t) {
		records := recording(t, c)
		var written bytes.Buffer
		for _, r := range records {
			if err := Write(&written, r); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(linesOf(t, c), splitLines(t, &written)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c, diff)
		}
		n += len(records)
	}
	if n < 200 {
		t.Errorf("all cases have %d records", n)
	}
}

// linesOf are a case's lines as any JSON reader sees the lines, without members we never write.
func linesOf(t *testing.T, c *corpus.Case) []any {
	t.Helper()
	unpacked, err := gzip.NewReader(c.Open(t))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(unpacked); err != nil {
		t.Fatal(err)
	}
	return splitLines(t, &text)
}

func splitLines(t *testing.T, text *bytes.Buffer) []any {
	t.Helper()
	var all []any
	for decoder := json.NewDecoder(text); decoder.More(); {
		var one map[string]any
		if err := decoder.Decode(&one); err != nil {
			t.Fatal(err)
		}
		delete(one, "case")
		delete(one, "config")
		all = append(all, one)
	}
	return all
}

func TestRecordingErrors(t *testing.T) {
	t.Parallel()
	good := `{"topic":"t","partition":0,"offset":1,"timestamp":1,"key":null,"value":"",` +
		`"headers":[{"k":"h","v":null}]}` + "\n"
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	random := rand.NewChaCha8([32]byte{})
	for range 100 {
		noise := make([]byte, 100)
		random.Read(noise)
		if err := Write(pack, &kgo.Record{Topic: "t", Value: noise}); err != nil {
			t.Fatal(err)
		}
	}
	pack.Close()
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		text, want string
		visit      error
	}{
		"no JSON":     {good + "{\n", "line 2: unexpected end of JSON input", nil},
		"no base64":   {good + good + `{"topic":"t","key":"%"}`, "line 3: illegal base64", nil},
		"no topic":    {"\n" + `{"value":null}`, "line 2: no topic", nil},
		"an array":    {"[]", "line 1: ", nil},
		"negative":    {`{"topic":"t","offset":-1}`, "line 1: partition 0, offset -1", nil},
		"cut off":     {packed.String()[:packed.Len()/2], "unexpected EOF", nil},
		"half a gzip": {packed.String()[:5], "unpack the recording", nil},
		"no gzip":     {"\x1f\x8bnonsense, and more of it", "unpack the recording", nil},
		"visitor":     {good, "line 1: refused", refused},
	} {
		err := Read(strings.NewReader(c.text), func(*kgo.Record) error { return c.visit })
		if err == nil || !strings.Contains(err.Error(), c.want) || c.visit != nil &&
			!errors.Is(err, c.visit) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	var got []*kgo.Record
	err := Read(strings.NewReader("\n"+good+"\r\n"+strings.TrimSpace(good)),
		func(r *kgo.Record) error {
			got = append(got, r)
			return nil
		})
	if err != nil || len(got) != 2 || got[1].Key != nil || got[1].Value == nil ||
		got[1].Headers[0].Value != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if err := Read(strings.NewReader(""), nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// TestRecordingIsBounded: memory is bounded, whatever a packed file unpacks to.
func TestRecordingIsBounded(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	for range 3 {
		if err := Write(&text, &kgo.Record{Topic: "t", Key: []byte("1234"),
			Value: []byte("123456")}); err != nil {
			t.Fatal(err)
		}
	}
	whole := text.String()
	if all, err := readAll(strings.NewReader(whole), 30); err != nil || len(all) != 3 {
		t.Errorf("%d records, %v", len(all), err)
	}
	_, err := readAll(strings.NewReader(whole), 29)
	if err == nil || !strings.Contains(err.Error(), "line 3: the keys and values until here") {
		t.Errorf("got %v", err)
	}
}

// captured is Capture's records, with Capture's result.
func captured(t *testing.T, k *consumertest.Kafka, o CaptureOptions) ([]*kgo.Record, Captured) {
	t.Helper()
	var out bytes.Buffer
	said, err := Capture(context.Background(), k.Producer, o, &out)
	if err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	if err := Read(&out, func(r *kgo.Record) error {
		records = append(records, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records, said
}

func TestCapture(t *testing.T) {
	t.Parallel()
	lab := consumertest.StartKafka(t)
	want := map[string]consumertest.Original{}
	for i := range 500 {
		r := &kgo.Record{Topic: "cdc.public.customer", Key: fmt.Append(nil, i),
			Value: bytes.Repeat([]byte{byte(i)}, i), Timestamp: consumertest.Time}
		if i%3 == 0 {
			r.Topic = "cdc.public.order"
		}
		lab.Produce(t, r)
		want[fmt.Sprint(r.Topic, r.Partition, "/", r.Offset)] = consumertest.OriginalOf(r)
	}
	for _, r := range consumertest.OddRecords() {
		r.Topic, r.Timestamp = "cdc.public.order_item", consumertest.Time
		lab.Produce(t, r)
		want[fmt.Sprint(r.Topic, r.Partition, "/", r.Offset)] = consumertest.OriginalOf(r)
	}
	records, said := captured(t, lab, CaptureOptions{Topics: []string{"cdc.public.order",
		`cdc\.public\..*`}})
	if said.Records != len(want) || len(said.Topics) != 4 || said.Notes != nil {
		t.Errorf("captured %+v, want %d records", said, len(want))
	}
	next := map[string]int64{}
	for _, r := range records {
		partition := fmt.Sprint(r.Topic, r.Partition)
		if r.Offset != next[partition] {
			t.Fatalf("offset %d of %s, want %d", r.Offset, partition, next[partition])
		}
		next[partition]++
		if diff := cmp.Diff(want[fmt.Sprint(partition, "/", r.Offset)],
			consumertest.OriginalOf(r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if records, _ := captured(t, lab, CaptureOptions{Topics: []string{"cdc.public.order"},
		Max: 7}); len(records) != 7 {
		t.Errorf("%d records, want at most 7", len(records))
	}
	empty := CaptureOptions{Topics: []string{"cdc.public.address"}}
	if records, _ := captured(t, lab, empty); len(records) != 0 {
		t.Errorf("%d records of an empty topic", len(records))
	}
	for pattern, says := range map[string]string{"public": `no topic "public"; there are`,
		"(": `read the topic "("`} {
		_, err := Capture(context.Background(), lab.Producer,
			CaptureOptions{Topics: []string{pattern}}, nil)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", pattern, err, says)
		}
	}
}

// visits tells a test of each line written.
type visits chan string

func (v visits) Write(line []byte) (int, error) {
	v <- string(line)
	return len(line), nil
}

func TestCaptureFollows(t *testing.T) {
	t.Parallel()
	lab := consumertest.StartKafka(t)
	record := func(n int) *kgo.Record {
		return &kgo.Record{Topic: "cdc.public.customer", Key: []byte("k"),
			Value: fmt.Append(nil, n)}
	}
	lab.Produce(t, record(0))
	ctx, cancel := context.WithCancel(context.Background())
	lines, done := make(visits), make(chan error, 1)
	go func() {
		_, err := Capture(ctx, lab.Producer,
			CaptureOptions{Topics: []string{"cdc.public.customer"}, Follow: time.Hour}, lines)
		done <- err
	}()
	for n := range 5 {
		if n > 0 {
			lab.Produce(t, record(n))
		}
		if line := <-lines; !strings.Contains(line, fmt.Sprintf(`"offset":%d,`, n)) {
			t.Errorf("line %d is %s", n, line)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("asked to end: %v", err)
	}
	ended := CaptureOptions{Topics: []string{"cdc.public.customer"}, Follow: 50 * time.Millisecond}
	if records, _ := captured(t, lab, ended); len(records) != 5 {
		t.Errorf("%d records, want 5", len(records))
	}
	if _, err := Capture(ctx, lab.Producer, ended, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before anything was read: %v", err)
	}
}

// TestCaptureTransactions: aborted records are not captured, and the end of a transaction (no
// record) does not keep the capture waiting.
func TestCaptureTransactions(t *testing.T) {
	t.Parallel()
	lab := consumertest.StartKafka(t)
	writer, err := kgo.NewClient(kgo.SeedBrokers(lab.Cluster.ListenAddrs()...),
		kgo.TransactionalID("t"),
		kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx := context.Background()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit,
		kgo.TryAbort} {
		err := errors.Join(writer.BeginTransaction(),
			writer.ProduceSync(ctx, &kgo.Record{Topic: "cdc.public.order",
				Key: []byte("k"), Value: fmt.Append(nil, i)}).FirstErr(),
			writer.EndTransaction(ctx, end))
		if err != nil {
			t.Fatal(err)
		}
	}
	started := time.Now()
	records, said := captured(t, lab, CaptureOptions{Topics: []string{"cdc.public.order"}})
	values := slices.Collect(func(yield func(string) bool) {
		for _, r := range records {
			yield(string(r.Value))
		}
	})
	if !slices.Equal(values, []string{"0", "2"}) || said.Notes != nil ||
		time.Since(started) > kafka.ReadPatience {
		t.Errorf("captured %q in %v, %+v", values, time.Since(started), said)
	}
}
