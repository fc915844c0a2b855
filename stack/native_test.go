package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/stack/connector"
	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// nativeEnv lets the tests with real Kafka and Debezium run; `./just native` sets it.
const nativeEnv = "CDCLAB_NATIVE"

// nativeOptions are testOptions for a Native Stack.
func nativeOptions(t *testing.T) Options {
	t.Helper()
	if os.Getenv(nativeEnv) == "" {
		t.Skipf("starts JVMs: set %s=1, or `./just native`", nativeEnv)
	}
	options := testOptions(t)
	options.Kind = Native
	return options
}

// nativeContext is longer than testContext's: a JVM takes its time.
func nativeContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestNative takes rows through real Kafka and Debezium, and every proxy, while parts of the Stack
// die.
func TestNative(t *testing.T) {
	options := nativeOptions(t)
	options.Proxies = proxy.Names()
	s := upForTest(t, options)
	ctx := nativeContext(t)
	if notes := strings.Join(s.Notes(), "; "); !strings.Contains(notes, "profile tuned") ||
		strings.Contains(notes, "kfake") {
		t.Errorf("notes %s", notes)
	}
	versions := s.Versions()
	if versions[Kafka] != "Apache Kafka 4.3.0" ||
		versions[Connector] != "Debezium 3.6.3.Final on Kafka Connect 4.3.0" {
		t.Errorf("versions %v", versions)
	}
	rows := 0
	grow := func(t *testing.T) {
		t.Helper()
		mustExec(t, s, insertCustomers, 50)
		rows += 50
		if err := s.Drained(ctx); err != nil {
			t.Fatal(err)
		}
		if n := countDocuments(t, s, "customers_live"); n != int64(rows) {
			t.Errorf("%d documents of %d rows", n, rows)
		}
	}
	t.Run("rows", grow)
	for _, name := range options.Proxies {
		proxy, err := s.Proxy(name)
		if err != nil {
			t.Fatal(err)
		}
		if in, out, err := proxy.Bytes(); err != nil || in == 0 || out == 0 {
			t.Errorf("%d and %d bytes through %s: it is bypassed (%v)", in, out, name, err)
		}
	}
	t.Run("metrics", func(t *testing.T) { wantJMX(t, s) })
	t.Run("strangers", func(t *testing.T) { strangersGetNothing(t, s) })
	t.Run("new table", func(t *testing.T) { newTable(t, s) })
	t.Run("snapshot", func(t *testing.T) { snapshotAgain(t, s) })
	t.Run("truncate", func(t *testing.T) {
		mustExec(t, s, "TRUNCATE customer CASCADE")
		rows = 0
		grow(t)
	})
	for _, name := range []string{Kafka, Connector, Postgres} {
		t.Run("kill "+name, func(t *testing.T) {
			c, err := s.Component(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := c.Health(ctx); err == nil {
				t.Errorf("%s serves after it was killed", name)
			}
			began := time.Now()
			if err := c.Start(ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s is back after %v", name, time.Since(began).Round(time.Millisecond))
			grow(t)
		})
	}
	t.Run("failed task", func(t *testing.T) { failedTask(t, s) })
}

// strangersGetNothing asks every listener of the broker, and the REST API of the worker, without
// the password.
func strangersGetNothing(t *testing.T, s *Stack) {
	t.Helper()
	var listeners string
	for _, setting := range s.parts.kafka.(*kafka.Native).Environment() {
		if all, is := strings.CutPrefix(setting, "CDC_KAFKA_LISTENERS="); is {
			listeners = all
		}
	}
	addresses := strings.Split(listeners, ",")
	if len(addresses) != 4 {
		t.Errorf("listeners %q", listeners)
	}
	for _, listener := range addresses {
		name, address, _ := strings.Cut(listener, "://")
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RetryTimeout(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if topics, err := kadm.NewClient(client).ListTopics(nativeContext(t)); err == nil {
			t.Errorf("%s tells a stranger %v", name, topics.Names())
		}
		client.Close()
	}
	worker, err := url.Parse(s.Endpoints().ConnectURL)
	if err != nil {
		t.Fatal(err)
	}
	for what, login := range map[string]*url.Userinfo{"no password": nil,
		"another password": url.UserPassword(worker.User.Username(), "x")} {
		for _, path := range []string{"/", "/connectors", "/connectors/cdclab/config",
			"/connector-plugins", "/admin/loggers"} {
			u := url.URL{Scheme: "http", User: login, Host: worker.Host, Path: path}
			response, err := http.Get(u.String())
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s of the worker with %s: %s", path, what, response.Status)
			}
		}
	}
}

// wantJMX: the agents serve the names used by dashboards and alerts, of Debezium all that our own
// connector serves.
func wantJMX(t *testing.T, s *Stack) {
	t.Helper()
	recorder := httptest.NewRecorder()
	connector.New(connector.DefaultConfig()).Metrics().ServeHTTP(recorder,
		httptest.NewRequest(http.MethodGet, "/metrics", nil))
	ours := regexp.MustCompile(`(?m)^debezium_.*\} `).FindAllString(recorder.Body.String(), -1)
	if len(ours) == 0 {
		t.Errorf("our connector serves\n%s", recorder.Body)
	}
	for i := range ours {
		ours[i] = regexp.QuoteMeta(ours[i])
	}
	for url, names := range map[string][]string{
		s.Endpoints().KafkaMetricsURL: {
			`kafka_server_brokerstate 3\.0`, `kafka_server_messagesin_total [1-9]`,
			`kafka_server_topic_messagesin_total\{topic="cdc\.public\.customer"\} [1-9]`,
			`kafka_server_replicamanager_underreplicatedpartitions 0\.0`,
			`kafka_controller_active_count 1\.0`,
			`kafka_network_request_total_time_ms\{request="Produce",statistic="99thPercentile"\}`,
		},
		s.Endpoints().ConnectorMetricsURL: append(ours,
			`debezium_metrics_QueueRemainingCapacity`+
				`\{context="streaming",name="cdc",plugin="postgres"\} [1-9]`,
			`debezium_metrics_TotalNumberOfEventsSeen`+
				`\{context="streaming",name="cdc",plugin="postgres"\} [1-9]`,
			`debezium_metrics_SnapshotCompleted`+
				`\{context="snapshot",name="cdc",plugin="postgres"\} 1\.0`,
			`debezium_metrics_RowsScanned`+
				`\{context="snapshot",name="cdc",plugin="postgres",table="public\.customer"\} 0\.0`,
			`kafka_connect_task_status\{connector="cdclab",status="running",task="0"\} 1\.0`,
			`kafka_connect_task_source_record_poll_total\{connector="cdclab",task="0"\} [1-9]`,
			`kafka_connect_worker_metrics_task_count 1\.0`,
			`kafka_connect_metrics_request_rate\{client=`,
		),
	} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^` + name).Match(text) {
				t.Errorf("%s serves no %s", url, name)
			}
		}
		if t.Failed() {
			t.Logf("%s", text)
		}
	}
}

// snapshotAgain: a lost document comes back by a signal, without a write to its row.
func snapshotAgain(t *testing.T, s *Stack) {
	t.Helper()
	ctx := nativeContext(t)
	client := servertest.MongoClient(t, s.Endpoints().MongoURI)
	if _, err := client.Database(s.Endpoints().MongoDatabase).Collection("invoice").DeleteMany(ctx,
		bson.D{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshot(ctx, "public.invoice"); err != nil {
		t.Fatal(err)
	}
	expect.Before(ctx, t, "the rows of the snapshot are there", func() error {
		if n := countDocuments(t, s, "invoice"); n != 1 {
			return fmt.Errorf("%d documents, want the one of the snapshot", n)
		}
		return nil
	})
}

// newTable: a new table is written to and materialised without a restart of anything.
func newTable(t *testing.T, s *Stack) {
	t.Helper()
	mustExec(t, s, "CREATE TABLE invoice (id int PRIMARY KEY, total numeric)")
	began := time.Now()
	mustExec(t, s, "INSERT INTO invoice VALUES (1, 12.50)")
	ctx, cancel := context.WithTimeout(nativeContext(t), time.Minute)
	defer cancel()
	tick := time.NewTicker(process.PollEvery)
	defer tick.Stop()
	for countDocuments(t, s, "invoice") == 0 {
		select {
		case <-ctx.Done():
			t.Fatal("no document of the new table")
		case <-tick.C:
		}
	}
	t.Logf("the first document of a new table was there %.1f s after its row",
		time.Since(began).Seconds())
}

// failedTask: Debezium gives up on a row larger than the limit of a record, and the Stack says so
// in Debezium's words.
func failedTask(t *testing.T, s *Stack) {
	t.Helper()
	ctx := nativeContext(t)
	d := s.parts.connector.(*debezium)
	if err := d.rest().Pause(ctx, connectorName); err != nil {
		t.Fatal(err)
	}
	expect.Before(ctx, t, "it says that it is paused", func() error {
		if err := d.Health(ctx); err == nil || !strings.Contains(err.Error(), "is PAUSED") {
			return fmt.Errorf("health of a paused connector: %v", err)
		}
		return nil
	})
	config, err := d.rest().Config(ctx, connectorName)
	if err != nil {
		t.Fatal(err)
	}
	config["database.dbname"] = "elsewhere"
	if err := d.rest().Put(ctx, connectorName, config); err == nil {
		t.Error("a configuration that cannot work was taken")
	} else if !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("refused with %v, want PostgreSQL's words", err)
	}
	if err := d.rest().Resume(ctx, connectorName); err != nil {
		t.Fatal(err)
	}
	expect.Before(ctx, t, "the task runs", func() error { return d.Health(ctx) })
	mustExec(t, s, "CREATE TABLE document (id int PRIMARY KEY, content text)")
	mustExec(t, s, "INSERT INTO document SELECT 1, repeat('long', 4 << 20)")
	select {
	case sentence := <-s.Died():
		if !strings.Contains(sentence, "task 0 of connector cdclab is FAILED: ") ||
			!strings.Contains(sentence, "RecordTooLargeException") {
			t.Errorf("told %q", sentence)
		}
		t.Log(sentence)
	case <-ctx.Done():
		t.Error("nobody was told of the failed task")
	}
}
