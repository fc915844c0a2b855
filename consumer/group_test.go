package consumer

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// TestRebalance: members come and go while records flow; every record is written.
func TestRebalance(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	first := lab.run(t, s)
	const each = 200
	write := func(from int) {
		for n := range each {
			lab.Produce(t, consumertest.Customer(consumertest.Insert, from+n, from+n+1, "x@x"))
		}
	}
	write(0)
	second := lab.run(t, s)
	write(each)
	consumertest.Eventually(t, "the second takes part", func() bool {
		for id := range 4 {
			lab.Produce(t, consumertest.Customer(consumertest.Update, id, 10*each, "again@x"))
		}
		return second.sum(t, telemetry.OutcomeApplied)+second.sum(t, telemetry.OutcomeStale) > 0
	})
	first.end(t)
	write(2 * each)
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range 3 * each {
		if consumertest.ReadDocument(s, "customers", consumertest.UUID(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
}

// TestFullQueues: a backlog pauses the fetching and loses nothing.
func TestFullQueues(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	lab.config.BatchMax, lab.config.QueueMax = 3, 3
	var records []*kgo.Record
	for n := range 300 {
		records = append(records, consumertest.Customer(consumertest.Insert, n, n+1, "x@x"))
	}
	lab.Produce(t, records...)
	lab.run(t, s)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 300, 301, "x@x"))
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	for n := range 301 {
		if consumertest.ReadDocument(s, "customers", consumertest.UUID(n)) == nil {
			t.Errorf("customer %d is missing", n)
		}
	}
}

// TestNewTopic: a topic created later is read from the beginning, even without a spec.
func TestNewTopic(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	r := lab.run(t, s)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	consumertest.Eventually(t, "running", func() bool {
		return r.sum(t, telemetry.OutcomeApplied) == 1
	})
	_, err := lab.Admin.CreateTopic(context.Background(), 1, 1, nil, "cdc.public.invoice")
	if err != nil {
		t.Fatal(err)
	}
	row := consumertest.Columns("id", int64(1), "total_amount", "1.50")
	lab.Produce(t, consumertest.Record("invoice", consumertest.Insert, 2, row[:1], nil, row))
	consumertest.Eventually(t, "its first document", func() bool {
		return consumertest.ReadDocument(s, "invoice", "1") != nil
	})
}

// TestInstance: a static member does not leave, so that its successor has the partitions at once
// and not after the session's timeout.
func TestInstance(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	lab.config.Instance = "lab"
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	first := lab.run(t, s)
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	first.end(t)
	lab.Produce(t, consumertest.Customer(consumertest.Insert, 2, 2, "two@x"))
	started := time.Now()
	lab.run(t, s)
	consumertest.Eventually(t, "all committed again", func() bool { return lab.lag(t) == 0 })
	if took := time.Since(started); took >= lab.config.SessionTimeout {
		t.Errorf("the successor needed %v", took)
	}
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	lab := newKafkaLab(t)
	lab.config.ListenFile = filepath.Join(t.TempDir(), "address")
	lab.Produce(t, story()...)
	r := lab.run(t, documents.NewMemory())
	var address string
	consumertest.Eventually(t, "the address is in the file", func() bool {
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
	consumertest.Eventually(t, "ready", func() bool {
		status, _ := get("/readyz")
		return status == http.StatusOK
	})
	consumertest.Eventually(t, "all committed", func() bool { return lab.lag(t) == 0 })
	r.metrics.CountRetry("server")
	r.metrics.DeadLetters.WithLabelValues("x", "x")
	r.metrics.Failed.WithLabelValues("x", "x", "x")
	_, body := get("/metrics")
	for _, name := range []string{telemetry.MetricEvents, telemetry.MetricBatchSize,
		telemetry.MetricStageSeconds, telemetry.MetricRetries,
		telemetry.MetricDeadLetters, telemetry.MetricPausedPartitions,
		telemetry.MetricValidationPassed, telemetry.MetricValidationFailed,
		telemetry.MetricValidationLatency, "go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	for _, stage := range []string{telemetry.StageSourceToConnector,
		telemetry.StageConnectorToKafka,
		telemetry.StageKafkaToConsumer, telemetry.StageConsumerToApplied} {
		if !strings.Contains(body, `stage="`+stage+`"`) {
			t.Errorf("/metrics has no stage %s", stage)
		}
	}
}

// TestPauseAndResumeDoNotSwap: a batch taken while the queue becomes full must not resume the
// fetching before the pause; otherwise the partition would stay paused, with nothing left to take.
func TestPauseAndResumeDoNotSwap(t *testing.T) {
	t.Parallel()
	p := &partition{batchMax: 2, queueMax: 2, arrived: make(chan struct{}, 1),
		room: apply.NewRoom(1 << 20), metrics: telemetry.NewMetrics()}
	paused, taken := false, make(chan struct{})
	p.resume = func() { paused = false }
	p.pause = func() {
		go func() { p.takeBatch(); close(taken) }()
		select {
		case <-taken:
		case <-time.After(50 * time.Millisecond):
		}
		paused = true
	}
	p.pushRecords([]*kgo.Record{{}, {}}, consumertest.Time)
	<-taken
	if paused {
		t.Error("the fetching stays paused with an empty queue")
	}
}
