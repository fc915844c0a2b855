package consumer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRebalance: members come and go while records flow; every record is written.
func TestRebalance(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	first := lab.run(t, s)
	const each = 200
	write := func(from int) {
		for n := range each {
			lab.produce(t, customer(insert, from+n, from+n+1, "x@x"))
		}
	}
	write(0)
	second := lab.run(t, s)
	write(each)
	eventually(t, "the second takes part", func() bool {
		for id := range 4 {
			lab.produce(t, customer(update, id, 10*each, "again@x"))
		}
		return second.sum(t, OutcomeApplied)+second.sum(t, OutcomeStale) > 0
	})
	first.end(t)
	write(2 * each)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range 3 * each {
		if s.read("customers", uuid(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
}

// TestFullQueues: a backlog pauses the fetching and loses nothing.
func TestFullQueues(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	lab.config.BatchMax, lab.config.QueueMax = 3, 3
	var records []*kgo.Record
	for n := range 300 {
		records = append(records, customer(insert, n, n+1, "x@x"))
	}
	lab.produce(t, records...)
	lab.run(t, s)
	lab.produce(t, customer(insert, 300, 301, "x@x"))
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range 301 {
		if s.read("customers", uuid(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
}

// TestNewTopic: a topic that is created later is read from its beginning, without a spec for it.
func TestNewTopic(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	r := lab.run(t, s)
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	eventually(t, "running", func() bool { return r.sum(t, OutcomeApplied) == 1 })
	_, err := lab.admin.CreateTopic(context.Background(), 1, 1, nil, "cdc.public.invoice")
	if err != nil {
		t.Fatal(err)
	}
	row := columns("id", int64(1), "total_amount", "1.50")
	lab.produce(t, record("invoice", insert, 2, row[:1], nil, row))
	eventually(t, "its first document", func() bool { return s.read("invoice", "1") != nil })
}

// TestInstance: a static member does not leave, so that its successor has the partitions at once and
// not after the session's timeout.
func TestInstance(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), newMemoryStore()
	lab.config.Instance = "lab"
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	first := lab.run(t, s)
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	first.end(t)
	lab.produce(t, customer(insert, 2, 2, "two@x"))
	started := time.Now()
	lab.run(t, s)
	eventually(t, "all committed again", func() bool { return lab.lag(t) == 0 })
	if took := time.Since(started); took >= lab.config.SessionTimeout {
		t.Errorf("the successor needed %v", took)
	}
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	lab.config.ListenFile = filepath.Join(t.TempDir(), "address")
	lab.produce(t, story()...)
	r := lab.run(t, newMemoryStore())
	var address string
	eventually(t, "the address is in the file", func() bool {
		text, _ := os.ReadFile(lab.config.ListenFile)
		address = strings.TrimSpace(string(text))
		return address != ""
	})
	get := func(path string) (int, string) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if status, body := get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	eventually(t, "ready", func() bool { status, _ := get("/readyz"); return status == http.StatusOK })
	eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	r.metrics.retry(errors.New("x"))
	r.metrics.deadLetters.WithLabelValues("x", "x")
	r.metrics.failed.WithLabelValues("x", "x", "x")
	_, body := get("/metrics")
	for _, name := range []string{MetricEvents, MetricBatchSize, MetricStageSeconds, MetricRetries,
		MetricDeadLetters, MetricPausedPartitions, MetricValidationPassed, MetricValidationFailed,
		MetricValidationLatency, "go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	for _, stage := range []string{StageSourceToConnector, StageConnectorToKafka,
		StageKafkaToConsumer, StageConsumerToApplied} {
		if !strings.Contains(body, `stage="`+stage+`"`) {
			t.Errorf("/metrics has no stage %s", stage)
		}
	}
}

// TestPauseAndResumeDoNotSwap: a batch that is taken while the queue becomes full must not resume the
// fetching before it is paused: it would stay paused, with nothing left to take.
func TestPauseAndResumeDoNotSwap(t *testing.T) {
	t.Parallel()
	p := &partition{batchMax: 2, queueMax: 2, arrived: make(chan struct{}, 1)}
	paused, taken := false, make(chan struct{})
	p.resume = func() { paused = false }
	p.pause = func() {
		go func() { p.take(); close(taken) }()
		select {
		case <-taken:
		case <-time.After(50 * time.Millisecond):
		}
		paused = true
	}
	p.push([]*kgo.Record{{}, {}}, testTime)
	<-taken
	if paused {
		t.Error("the fetching stays paused with an empty queue")
	}
}
