package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// nobody runs the servers when the test is root: PostgreSQL refuses that.
const nobody = 65534

// servers are a PostgreSQL and a MongoDB of the test's own.
type servers struct {
	dsn, uri string
	postgres *pgx.Conn
	mongo    *mongo.Database
}

// startServers skips the test where there are no programs to start.
func startServers(t *testing.T) *servers {
	t.Helper()
	if testing.Short() {
		t.Skip("starts PostgreSQL and MongoDB: not with -short")
	}
	postgres, mongod := find(t, "postgres"), findMongod(t)
	s := &servers{}
	folder := folder(t)
	data, port := filepath.Join(folder, "pg"), freePort(t)
	ran(t, filepath.Join(filepath.Dir(postgres), "initdb"), "-D", data, "-U", "cdc", "-A", "trust", "-N", "-E", "UTF8")
	s.dsn = fmt.Sprintf("postgres://cdc@127.0.0.1:%d/postgres?sslmode=disable", port)
	// Settings that a text must not depend on.
	background(t, syscall.SIGINT, postgres, "-D", data, "-p", fmt.Sprint(port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "timezone=Asia/Kolkata", "-c", "datestyle=German")
	eventually(t, func(ctx context.Context) (err error) {
		s.postgres, err = pgx.Connect(ctx, s.dsn)
		return err
	})
	t.Cleanup(func() { _ = s.postgres.Close(context.Background()) })

	port = freePort(t)
	arguments := []string{"--host", "127.0.0.1", "--storage-path", filepath.Join(folder, "mongo"), "--cache-size", "256M"}
	if filepath.Base(mongod) == "mongod" {
		arguments = []string{"--bind_ip", "127.0.0.1", "--dbpath", folder}
	}
	background(t, syscall.SIGTERM, mongod, append(arguments, "--port", fmt.Sprint(port))...)
	s.uri = fmt.Sprintf("mongodb://127.0.0.1:%d/?directConnection=true", port)
	client, err := mongo.Connect(options.Client().ApplyURI(s.uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	eventually(t, func(ctx context.Context) error { return client.Ping(ctx, nil) })
	s.mongo = client.Database("cdc")
	return s
}

func (s *servers) exec(t *testing.T, sql string, arguments ...any) {
	t.Helper()
	if _, err := s.postgres.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatal(err)
	}
}

func (s *servers) replace(t *testing.T, collection string, document bson.M) {
	t.Helper()
	_, err := s.mongo.Collection(collection).ReplaceOne(t.Context(), bson.M{"_id": document["_id"]}, document,
		options.Replace().SetUpsert(true))
	if err != nil {
		t.Fatal(err)
	}
}

func (s *servers) update(t *testing.T, collection, id string, update bson.M) {
	t.Helper()
	done, err := s.mongo.Collection(collection).UpdateOne(t.Context(), bson.M{"_id": id}, update)
	if err != nil || done.MatchedCount != 1 {
		t.Fatal(done, err)
	}
}

func find(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s on PATH", program)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func findMongod(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("CDCLAB_CACHE")
	if base, err := os.UserCacheDir(); cache == "" && err == nil {
		cache = filepath.Join(base, "cdclab")
	}
	for _, path := range []string{
		os.Getenv("CDCLAB_SECANTUSD_RS"), "mongod", "secantusd-rs", filepath.Join(cache, "secantusd-rs", "bin", "secantusd-rs"),
	} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Skip("no mongod or secantusd-rs on PATH, in CDCLAB_SECANTUSD_RS or in the cache")
	return ""
}

// folder is one that the servers may write to, in memory where there is such a place.
func folder(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	path, err := os.MkdirTemp(base, "cdclab-chaos-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	})
	if os.Getuid() == 0 {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// command runs PostgreSQL's programs as nobody when the test is root.
func command(path string, arguments ...string) *exec.Cmd {
	c := exec.Command(path, arguments...)
	c.Dir = "/"
	if os.Getuid() == 0 && slices.Contains([]string{"postgres", "initdb"}, filepath.Base(path)) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return c
}

func ran(t *testing.T, path string, arguments ...string) {
	t.Helper()
	if out, err := command(path, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, out)
	}
}

// background runs a program until the test is over.
func background(t *testing.T, end syscall.Signal, path string, arguments ...string) {
	t.Helper()
	c := command(path, arguments...)
	var log strings.Builder
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(end)
		late := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill() })
		defer late.Stop()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", path, log.String())
		}
	})
}

func eventually(t *testing.T, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			t.Fatal(errors.Join(errors.New("a server did not come up"), err))
		}
	}
}
