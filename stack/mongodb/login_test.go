package mongodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// Who has no password reads, writes and makes nothing, also after a kill: every user of the machine
// reaches the port.
func TestStrangersGetNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, m := expect.Context(t), testServer(t, kind, Options{Login: true})
			for range 2 {
				if err := m.Start(ctx); err != nil {
					t.Fatal(err)
				}
				if err := m.Health(ctx); err != nil {
					t.Error(err)
				}
				_, err := m.client.Database("cdc").Collection("c").InsertOne(ctx, bson.D{})
				if err != nil {
					t.Error(err)
				}
				wantStrangersRefused(t, m)
				wantHidden(t, m)
				if err := m.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// kinds are the kinds of this machine's programs.
func kinds(t *testing.T) (kinds []string) {
	t.Helper()
	cache, err := programs.CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	found, err := programs.FindMongos(expect.Context(t), cache, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range found {
		kinds = append(kinds, program.Kind)
	}
	return kinds
}

func wantStrangersRefused(t *testing.T, m *Server) {
	t.Helper()
	for what, user := range map[string]*url.Userinfo{
		"no login": nil, "wrong password": url.UserPassword(loginUser, "x"),
		"wrong name": url.UserPassword("x", m.login.password),
	} {
		u := url.URL{Scheme: "mongodb", User: user, Host: m.address, Path: "/",
			RawQuery: "directConnection=true"}
		client, err := Connect(u.String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Disconnect(context.Background())
		for _, command := range []bson.D{
			{{Key: "createUser", Value: "mine"}, {Key: "pwd", Value: "x"},
				{Key: "roles", Value: bson.A{"root"}}},
			{{Key: "find", Value: "c"}}, {{Key: "listDatabases", Value: 1}},
			{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{}}}},
			{{Key: "drop", Value: "c"}}, {{Key: "dropDatabase", Value: 1}},
			{{Key: "usersInfo", Value: 1}}, {{Key: "currentOp", Value: 1}},
			{{Key: "aggregate", Value: 1}, {Key: "cursor", Value: bson.D{}},
				{Key: "pipeline", Value: bson.A{bson.D{{Key: "$changeStream", Value: bson.D{
					{Key: "allChangesForCluster", Value: true}}}}}}},
		} {
			err := client.Database("admin").RunCommand(t.Context(), command).Err()
			const unauthorized = 13
			var refused mongo.CommandError
			if err == nil || user == nil &&
				!(errors.As(err, &refused) && refused.Code == unauthorized) {
				t.Errorf("%s: %s: %v", what, command[0].Key, err)
			}
		}
	}
}

// wantHidden wants the password in no argument and no variable of the server.
func wantHidden(t *testing.T, m *Server) {
	t.Helper()
	for _, pid := range m.PIDs() {
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
			if err != nil {
				t.Skip("no /proc here: ", err)
			}
			if bytes.Contains(text, []byte(m.login.password)) {
				t.Errorf("%s of process %d holds the password", name, pid)
			}
		}
	}
}

// A user that the lab did not make ends the start: a stranger was there while the server was open.
func TestAnotherUserEndsTheStart(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, m := expect.Context(t), testServer(t, kind, Options{Login: true})
			if err := m.Start(ctx); err != nil {
				t.Fatal(err)
			}
			for _, database := range []string{"admin", "other"} {
				err := m.client.Database(database).RunCommand(ctx, bson.D{
					{Key: "createUser", Value: "stranger"}, {Key: "pwd", Value: "x"},
					{Key: "roles", Value: bson.A{}}}).Err()
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Stop(ctx); err != nil {
					t.Fatal(err)
				}
				expect.Error(t, m.Start(ctx), "MongoDB has 2 users, and the lab made one")
				if m.Current().Alive() {
					t.Error("the server goes on")
				}
				m.login = &login{password: m.login.password, made: true}
				if database == "other" {
					return
				}
				dropStranger(t, m)
			}
		})
	}
}

// dropStranger leaves the server running with its own user alone.
func dropStranger(t *testing.T, m *Server) {
	t.Helper()
	ctx := expect.Context(t)
	flags, err := m.loginFlags()
	if err == nil {
		err = m.launch(ctx, m.Folder.File("mongo"), m.address, flags)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.client.Database("admin").RunCommand(ctx,
		bson.D{{Key: "dropUser", Value: "stranger"}}).Err(); err != nil {
		t.Fatal(err)
	}
}
