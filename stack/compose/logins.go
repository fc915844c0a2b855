package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
)

// Ways out after a refused password.
const (
	// otherData is for a part that keeps the password in its data.
	otherData = "its data was made with another; put that one back, or remove the data with " +
		"`./just compose down --volumes`"
	// otherStart is for a part that reads the secret when it starts.
	otherStart = "it was started with another; put that one back, or start it again with " +
		"`./just compose up --detach --force-recreate connect`"
)

// tryLogins is an error where a part that serves refuses its secret. address returns where a port
// of a service is published, "" for nowhere: then somebody else's server may be at the usual port.
func (s Secrets) tryLogins(ctx context.Context,
	address func(ctx context.Context, service, port string) string) error {
	for _, login := range []struct {
		part, service, port string
		try                 func(ctx context.Context, address string) (refused string)
		way                 string
	}{
		{"PostgreSQL", Postgres, "5432", s.tryPostgres, otherData},
		{"Kafka", Kafka, "9092", s.tryKafka, otherData},
		{"MongoDB", Mongo, "27017", s.tryMongo, otherData},
		{"Kafka Connect", Connect, "8083", s.tryConnect, otherStart},
	} {
		ctx, cancel := context.WithTimeout(ctx, 4*process.HealthLimit)
		refused := ""
		if at := address(ctx, login.service, login.port); at != "" {
			refused = login.try(ctx, at)
		}
		if cancel(); refused != "" {
			return fmt.Errorf("%s refuses the password in %s: %s", login.part,
				filepath.Join("stack", "compose", secretsFolder, refused), login.way)
		}
	}
	return nil
}

// tryPostgres returns the secret of a role that PostgreSQL refuses, "" for none.
func (s Secrets) tryPostgres(ctx context.Context, address string) (refused string) {
	for _, role := range slices.Sorted(maps.Keys(passwordsOfRoles)) {
		err := postgres.With(ctx, s.postgresURL(role, address), func(conn *pgx.Conn) error {
			return conn.Ping(ctx)
		})
		const invalidPassword = "28P01"
		if e := new(pgconn.PgError); errors.As(err, &e) && e.Code == invalidPassword {
			return passwordsOfRoles[role]
		}
	}
	return ""
}

func (s Secrets) tryKafka(ctx context.Context, address string) (refused string) {
	login := kafka.Login{User: loginUser, Password: s[kafkaPassword]}
	client, err := kgo.NewClient(append(login.Options(), kgo.SeedBrokers(address))...)
	if err != nil {
		return ""
	}
	defer client.Close()
	if errors.Is(client.Ping(ctx), kerr.SaslAuthenticationFailed) {
		return kafkaPassword
	}
	return ""
}

func (s Secrets) tryMongo(ctx context.Context, address string) (refused string) {
	client, err := mongodb.Connect(s.mongoURL(address))
	if err != nil {
		return ""
	}
	defer client.Disconnect(context.WithoutCancel(ctx))
	_, err = mongodb.AskVersion(ctx, client)
	const authenticationFailed = 18
	if mongodb.HasCode(err, authenticationFailed) {
		return mongoPassword
	}
	return ""
}

func (s Secrets) tryConnect(ctx context.Context, address string) (refused string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return ""
	}
	request.SetBasicAuth(loginUser, s[connectPassword])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusUnauthorized {
		return connectPassword
	}
	return ""
}
