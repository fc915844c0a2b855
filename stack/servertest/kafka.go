package servertest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka starts a cluster of one broker inside the test binary, which ends with the test.
func Kafka(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}
