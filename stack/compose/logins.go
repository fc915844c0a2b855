package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
)

// tryLogins is an error where a part that serves refuses its secret, because the part's data was
// made with another. address returns where a port of a service is published, "" for nowhere: then
// somebody else's server may be at the usual port.
func (s Secrets) tryLogins(ctx context.Context, address func(service, port string) string) error {
	for _, login := range []struct {
		part, service, port string
		try                 func(ctx context.Context, address string) (refused string)
	}{
		{"PostgreSQL", Postgres, "5432", s.tryPostgres},
		{"Kafka", Kafka, "9092", s.tryKafka},
		{"MongoDB", Mongo, "27017", s.tryMongo},
	} {
		at := address(login.service, login.port)
		if at == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 4*process.HealthLimit)
		refused := login.try(ctx, at)
		if cancel(); refused != "" {
			return fmt.Errorf("%s refuses the password in %s: its data was made with another; put "+
				"that one back, or remove the data with `./just compose down --volumes`",
				login.part, filepath.Join("stack", "compose", secretsFolder, refused))
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
	if e := (mongo.CommandError{}); errors.As(err, &e) && e.Code == authenticationFailed {
		return mongoPassword
	}
	return ""
}
