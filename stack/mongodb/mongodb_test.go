package mongodb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// testServer makes a server of a kind, "" for the best, that is not started.
func testServer(t *testing.T, kind string, o Options) *Server {
	t.Helper()
	cache, err := programs.CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	program, err := programs.FindMongo(expect.Context(t), kind, cache, func(line string) {
		t.Log(line)
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := process.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(f, program, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(context.Background()), f.Close(false)); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestMongoKeepsDataOverAKill(t *testing.T) {
	t.Parallel()
	ctx, m := expect.Context(t), testServer(t, "", Options{})
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(ctx); err == nil {
		t.Error("a started server was started again")
	}
	if !strings.HasPrefix(m.Version(), m.program.Kind+" ") || strings.HasSuffix(m.Version(), " ") {
		t.Errorf("the version is %q", m.Version())
	}
	documents := m.client.Database("cdc").Collection("customers")
	if _, err := documents.InsertOne(ctx, bson.D{{Key: "_id", Value: "a"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := m.Health(ctx); err == nil {
		t.Error("a killed server is healthy")
	}
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := documents.CountDocuments(ctx, bson.D{}); err != nil || n != 1 {
		t.Errorf("%d documents (%v) after the kill, want 1", n, err)
	}
	if err := m.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if pids := m.PIDs(); len(pids) != 0 {
		t.Errorf("a stopped server has pids %v", pids)
	}
}

// TestSlowStandIn: a Stack has this server where there is nothing better.
func TestSlowStandIn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("may install a program")
	}
	m := testServer(t, programs.SecantusPy, Options{})
	if err := m.Start(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
}

func TestSyncIsLeftOutOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	f := &process.Folder{Path: t.TempDir()}
	for _, unsafe := range []bool{false, true} {
		m := &Server{
			Child:   process.NewChild(Name, f, 0),
			program: programs.MongoProgram{Kind: programs.SecantusRS},
			address: "127.0.0.1:1", options: Options{Unsafe: unsafe},
		}
		args, err := m.arguments(f.File("mongo"), m.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(args, "--sync-on-commit") == unsafe {
			t.Errorf("unsafe %v: the arguments are %v", unsafe, args)
		}
	}
}

// TestElectionImpossible: with a mongod on PATH there are elections, and without one there are
// none.
func TestElectionImpossible(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("CDCLAB_CACHE", folder)
	t.Setenv("PATH", folder)
	expect.Error(t, ElectionImpossible(), "elections are of MongoDB itself", "no mongod on PATH")
	program := filepath.Join(folder, programs.Mongod)
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ElectionImpossible(); err != nil {
		t.Error(err)
	}
}
