package stack

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"
)

// fastMongo is a program that is there without installing any.
func fastMongo(t *testing.T) mongoProgram {
	t.Helper()
	cache, err := CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	path, err := findSecantusRS(cache)
	if err != nil {
		t.Fatal(err)
	}
	if path == "" {
		t.Skip("no secantusd-rs on PATH or in the cache: ./just fetch puts it there")
	}
	return mongoProgram{SecantusRS, path}
}

// memoryFolder is a folder where syncing is fast, if there is such a place.
func memoryFolder(t *testing.T) *folder {
	t.Helper()
	f, err := makeFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(false); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestMongoKeepsDataOverAKill(t *testing.T) {
	t.Parallel()
	program := fastMongo(t)
	ctx := testContext(t)
	m, err := newMongoServer(memoryFolder(t), program, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close(ctx) })
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(ctx); err == nil {
		t.Error("a started server was started again")
	}
	if !strings.HasPrefix(m.Version(), "secantusd-rs ") || strings.HasSuffix(m.Version(), " ") {
		t.Errorf("the version is %q", m.Version())
	}
	documents := m.client.Database(mongoDatabase).Collection("customers")
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

// TestSlowStandIn installs it the first time, as Up does where there is nothing better.
func TestSlowStandIn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("may install a program")
	}
	cache, err := CacheDir("")
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	var path string
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range 2 {
		group.Go(func() error {
			found, err := installSecantusPy(groupCtx, cache, func(line string) { t.Log(line) })
			if i == 0 {
				path = found
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Skip("it cannot be installed here: ", err)
	}
	m, err := newMongoServer(memoryFolder(t), mongoProgram{SecantusPy, path}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close(ctx)
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if note := mongoNote(SecantusPy); !strings.Contains(note, "./just fetch") {
		t.Errorf("the note %q does not say what to do", note)
	}
}

func TestSyncIsLeftOutOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	for _, unsafe := range []bool{false, true} {
		m := &mongoServer{
			child: child{folder: f}, program: mongoProgram{kind: SecantusRS},
			address: "127.0.0.1:1", unsafe: unsafe,
		}
		args, err := m.arguments(f.file("mongo"))
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(args, "--sync-on-commit") == unsafe {
			t.Errorf("unsafe %v: the arguments are %v", unsafe, args)
		}
	}
}

func TestFindMongoSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(secantusRSEnv, "")
	_, err := findMongo(testContext(t), t.TempDir(), func(string) {})
	wantError(t, err, "mongod", "secantusd-rs", "./just fetch", "python3")
	missing := filepath.Join(t.TempDir(), "nothing")
	t.Setenv(secantusRSEnv, missing)
	_, err = findMongo(testContext(t), t.TempDir(), func(string) {})
	wantError(t, err, missing)
}

func TestProxiedURI(t *testing.T) {
	t.Parallel()
	given := "mongodb://u:p@db.example:27017/cdc?replicaSet=rs&w=majority"
	want := "mongodb://u:p@127.0.0.1:5/cdc?directConnection=true&w=majority"
	got, err := proxiedURI(given, "127.0.0.1:5")
	if err != nil || got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
	for uri, want := range map[string]string{
		"mongodb://db.example/":        "db.example:27017",
		"mongodb://db.example:28000/x": "db.example:28000",
		"mongodb://a,b/":               "",
		"mongodb://a/?tls=true":        "",
		"http://a/":                    "",
	} {
		if host, err := singleHost(uri); host != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q (%v), want %q", uri, host, err, want)
		}
	}
}
