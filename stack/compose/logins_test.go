package compose

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestRefusedSecrets: a part that has another password is told by the file of the secret, also
// where the password is not of the part's first user. Sound secrets are no error, nor are parts
// that are not published.
func TestRefusedSecrets(t *testing.T) {
	t.Parallel()
	server := servertest.SharedPostgres(t)
	store := servertest.OwnMongo(t, mongodb.Options{Login: true})
	uri, err := url.Parse(store.URI())
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := url.Parse(server.DSNOf(postgres.Database))
	if err != nil {
		t.Fatal(err)
	}
	sound := Secrets{kafkaPassword: "of Kafka", connectPassword: "of Connect"}
	sound[mongoPassword], _ = uri.User.Password()
	for role, name := range passwordsOfRoles {
		sound[name] = server.Password(role)
	}
	cluster := servertest.Kafka(t, kfake.EnableSASL(),
		kfake.Superuser(kafka.Mechanism, loginUser, sound[kafkaPassword]))
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != sound[connectPassword] {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(worker.Close)
	published := map[string]string{Postgres: dsn.Host, Kafka: cluster.ListenAddrs()[0],
		Mongo: uri.Host, Connect: worker.Listener.Addr().String()}
	address := func(ctx context.Context, service, _ string) string {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Errorf("the question where %s is published has no limit", service)
		}
		return published[service]
	}
	if err := sound.tryLogins(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	// A broker answers a wrong password by this code; kfake only ends the connection.
	var refuses atomic.Bool
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error,
		bool) {
		cluster.KeepControl()
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return answer, nil, refuses.Load()
	})
	for name, part := range map[string]string{postgresPassword: "PostgreSQL",
		generatorPassword: "PostgreSQL", connectorPassword: "PostgreSQL",
		checkPassword: "PostgreSQL", kafkaPassword: "Kafka", mongoPassword: "MongoDB",
		connectPassword: "Kafka Connect"} {
		wrong := maps.Clone(sound)
		wrong[name] = "another"
		refuses.Store(name == kafkaPassword)
		err := wrong.tryLogins(t.Context(), address)
		if err == nil || !strings.HasPrefix(err.Error(), part+" refuses the password in ") ||
			!strings.Contains(err.Error(), "secrets/"+name+":") {
			t.Errorf("%s: %v", name, err)
		}
		nowhere := func(context.Context, string, string) string { return "" }
		if err := wrong.tryLogins(t.Context(), nowhere); err != nil {
			t.Errorf("%s, nothing published: %v", name, err)
		}
	}
}
