package consumer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/consumer/entity"
)

// server is a MongoDB, or a stand-in for one, that the tests of this package share.
type server struct {
	kind string
	find func() (string, error) // the program, or (given) the URI
	once sync.Once
	uri  string
	skip error // why it cannot be had
	end  func()
}

var servers = []*server{
	{kind: "given", find: givenURI},
	{kind: "mongod", find: func() (string, error) { return exec.LookPath("mongod") }},
	{kind: "secantusd-rs", find: standIn("secantusd-rs", "CDCLAB_SECANTUSD_RS")},
	{kind: "secantusd-py", find: standIn("secantusd-py", "CDCLAB_SECANTUSD_PY")},
}

// checks is how many histories each property is tried on; -rapid.checks asks for more.
const checks = "500"

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		flag.Set("rapid.checks", checks)
	}
	code := m.Run()
	for _, s := range servers {
		if s.end != nil {
			s.end()
		}
	}
	os.Exit(code)
}

func givenURI() (string, error) {
	if uri := os.Getenv("CDCLAB_MONGO_URI"); uri != "" {
		return uri, nil
	}
	return "", errors.New("CDCLAB_MONGO_URI is not set")
}

func standIn(name, env string) func() (string, error) {
	return func() (string, error) { return findStandIn(name, env) }
}

func findStandIn(name, env string) (string, error) {
	if path := os.Getenv(env); path != "" {
		return exec.LookPath(path)
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path, err := exec.LookPath(filepath.Join(cache, "cdclab", name, "bin", name))
	if err != nil {
		return "", fmt.Errorf("no %s: not in %s, not on PATH, not in the cache", name, env)
	}
	return path, nil
}

// open starts the server when a test first asks for it, or skips the test.
func (s *server) open(t testing.TB) string {
	t.Helper()
	s.once.Do(func() {
		var path string
		if path, s.skip = s.find(); s.skip != nil {
			return
		}
		if s.uri = path; s.kind != "given" {
			s.uri, s.end, s.skip = start(s.kind, path)
		}
	})
	if s.skip != nil {
		t.Skip(s.skip)
	}
	return s.uri
}

// anyServer is the first that can be had.
func anyServer(t *testing.T) string {
	t.Helper()
	for _, s := range servers {
		if _, err := s.find(); err == nil {
			return s.open(t)
		}
	}
	t.Skip("no MongoDB and no stand-in of it: set CDCLAB_MONGO_URI or CDCLAB_SECANTUSD_RS")
	return ""
}

func start(kind, program string) (uri string, end func(), err error) {
	folder, err := os.MkdirTemp(fastFolder(), "cdclab-consumer-test-")
	if err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	args := []string{"--host", "127.0.0.1", "--port", port, "--storage-path", folder,
		"--cache-size", "512M", "--sync-on-commit"}
	if kind == "mongod" {
		args = []string{"--bind_ip", "127.0.0.1", "--port", port, "--dbpath", folder,
			"--replSet", "test"}
	}
	output, end, err := run(folder, program, args...)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(folder))
	}
	uri = "mongodb://127.0.0.1:" + port + "/?directConnection=true"
	if err := awaitServer(kind, uri); err != nil {
		end()
		return "", nil, fmt.Errorf("%s does not serve: %w\n%s", kind, err, output.String())
	}
	return uri, end, nil
}

// run runs a server until end, or until this process ends, however that ends: the shell kills it, and removes the folder, unless
// it is "", when its own input ends.
func run(folder, program string, args ...string) (output *bytes.Buffer, end func(), err error) {
	const watch = `folder=$1; shift; "$@" & cat; kill -9 $!; wait $!; rm -rf "$folder"`
	command := exec.Command("sh", append([]string{"-c", watch, "sh", folder, program}, args...)...)
	output = &bytes.Buffer{}
	command.Stdout, command.Stderr = output, output
	life, err := command.StdinPipe()
	if err == nil {
		err = command.Start()
	}
	return output, func() {
		life.Close()
		command.Wait()
	}, err
}

// TestStandInEndsWithItsTests: also where nothing is left to end it, as after a test that hangs.
func TestStandInEndsWithItsTests(t *testing.T) {
	t.Parallel()
	const asChild = "CDCLAB_TEST_IS_KILLED"
	if os.Getenv(asChild) != "" {
		fmt.Println(anyServer(t))
		<-t.Context().Done()
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStandInEndsWithItsTests$")
	child.Env = append(os.Environ(), asChild+"=1", "CDCLAB_MONGO_URI=")
	output, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said, _ := bufio.NewReader(output).ReadString('\n')
	served, err := url.Parse(strings.TrimSpace(said))
	if killed := child.Process.Kill(); err != nil || killed != nil {
		t.Fatal(err, killed)
	}
	child.Wait()
	if served.Host == "" {
		t.Skipf("no stand-in: %s", said)
	}
	for tick, deadline := time.Tick(10*time.Millisecond), time.After(20*time.Second); ; {
		connection, err := net.Dial("tcp", served.Host)
		if err != nil {
			return
		}
		connection.Close()
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("%s still serves", served.Host)
		}
	}
}

func awaitServer(kind, uri string) error {
	client, err := mongo.Connect(options.Client().ApplyURI(uri).
		SetServerSelectionTimeout(30 * time.Second))
	if err != nil {
		return err
	}
	defer client.Disconnect(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.Ping(ctx, nil); err != nil || kind != "mongod" {
		return err
	}
	admin := client.Database("admin")
	initiate := bson.D{{Key: "replSetInitiate", Value: bson.D{}}}
	if err := admin.RunCommand(ctx, initiate).Err(); err != nil {
		return err
	}
	for tick := time.Tick(50 * time.Millisecond); ; <-tick {
		var hello struct{ IsWritablePrimary bool }
		if err := admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
			return err
		}
		if hello.IsWritablePrimary {
			return nil
		}
	}
}

// fastFolder is a folder that is no disk, where there is one.
func fastFolder() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

var databases atomic.Int64

// freshDatabase is a name that no other test uses.
func freshDatabase(t *testing.T) string {
	name := strings.NewReplacer("/", "_", " ", "_", ".", "_", "-", "_").Replace(t.Name())
	return fmt.Sprintf("%.40s_%d", name, databases.Add(1))
}

func testMongo(t *testing.T, uri string) *mongoStore {
	t.Helper()
	config := DefaultConfig()
	config.MongoURI, config.Database = uri, freshDatabase(t)
	m, err := openMongo(config, entity.Default(), newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.database.Drop(context.Background())
		m.close(context.Background())
	})
	return m
}

// read returns nil for a document that is not there.
func (m *mongoStore) read(collection, id string) bson.M {
	raw, err := m.database.Collection(collection).FindOne(context.Background(),
		bson.D{{Key: "_id", Value: id}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil
	}
	if err != nil {
		panic(err)
	}
	return decodeDocument(raw)
}

// decodeDocument gives nested documents as bson.M, too.
func decodeDocument(raw bson.Raw) bson.M {
	decoder := bson.NewDecoder(bson.NewDocumentReader(bytes.NewReader(raw)))
	decoder.DefaultDocumentM()
	var document bson.M
	if err := decoder.Decode(&document); err != nil {
		panic(err)
	}
	return document
}

func (m *memoryStore) read(collection, id string) bson.M {
	found, err := m.find(context.Background(), collection, []string{id})
	if err != nil {
		panic(err)
	}
	if found[id] == nil {
		return nil
	}
	return decodeDocument(found[id])
}
