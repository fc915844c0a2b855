package stack

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// TestSideConsumer: a consumer beside the Stack's own reads the same topics, in a group and into a
// database of its own, and Down ends the side consumer.
func TestSideConsumer(t *testing.T) {
	s := upForTest(t, testOptions(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.Worker(); err == nil ||
		!strings.Contains(err.Error(), "the embedded stack has no Kafka Connect") {
		t.Errorf("the worker of an embedded stack: %v", err)
	}
	side := s.SideConsumer("side", s.Endpoints().MongoURI, "--group", "side", "--database", "side")
	if side.MetricsURL() != "" {
		t.Errorf("serves at %s before it was started", side.MetricsURL())
	}
	if err := side.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if len(side.PIDs()) == 0 || side.MetricsURL() == "" {
		t.Errorf("processes %v, metrics at %q", side.PIDs(), side.MetricsURL())
	}
	mustExec(t, s, insertCustomers, 5)
	client := servertest.MongoClient(t, s.Endpoints().MongoURI)
	expect.Before(ctx, t, "the side consumer has all rows", func() error {
		n, err := client.Database("side").Collection("customers").CountDocuments(ctx, bson.D{})
		if err == nil && n != 5 {
			err = fmt.Errorf("%d documents of 5 rows", n)
		}
		return err
	})
	if err := s.Drained(ctx); err != nil {
		t.Fatal(err)
	}
	if n := countDocuments(t, s, "customers_live"); n != 5 {
		t.Errorf("%d documents of the stack's own consumer", n)
	}
	pid := side.PIDs()[0]
	if err := s.Down(ctx); err != nil {
		t.Fatal(err)
	}
	if _, gone := process.Find(pid); gone == nil {
		t.Errorf("process %d is left", pid)
	}
}

// TestRaiseEpoch: a person's own epoch is told by the flag or by the environment, and by nothing
// else that begins alike.
func TestRaiseEpoch(t *testing.T) {
	const setting = "CDC_CONSUMER_EPOCH"
	t.Setenv(setting, "")
	raise := func(args ...string) error {
		c := newConsumer(&process.Folder{}, Consumer, "", nil, connections{}, args)
		err := c.RaiseEpoch()
		if (c.epoch == 1) != (err == nil) {
			t.Errorf("with %q the epoch is %d and the error %v", args, c.epoch, err)
		}
		return err
	}
	for _, args := range [][]string{{}, {"--database", "epochs"}, {"--epochs", "5"}} {
		if err := raise(args...); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"--epoch", "5"}, {"-epoch=5"}, {"--epoch=0"}} {
		expect.Error(t, raise(args...), "epoch is given")
	}
	t.Setenv(setting, "5")
	expect.Error(t, raise(), "epoch is given")
}
