package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// nobody is the number of a user without rights.
const nobody = 65534

// asNobody runs do on a thread of that user, which ends with do.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no further use
		// Raw calls change this thread alone, where those of package syscall change all.
		for _, call := range [][4]uintptr{
			{syscall.SYS_SETGROUPS, 0, 0, 0},
			{syscall.SYS_SETRESGID, nobody, nobody, nobody},
			{syscall.SYS_SETRESUID, nobody, nobody, nobody},
		} {
			if _, _, err := syscall.RawSyscall(call[0], call[1], call[2], call[3]); err != 0 {
				done <- err
				return
			}
		}
		do()
		done <- 0
	}()
	if err := <-done; err != 0 {
		t.Fatal("become nobody: ", err)
	}
}

// secretsOf are the passwords of a Stack's parts by name, and the names that a child may hold.
func secretsOf(t *testing.T, s *Stack) (secrets map[string]string, mayHold map[string][]string) {
	t.Helper()
	server := s.parts.postgres.(*postgres.Server)
	uri, err := url.Parse(s.parts.mongo.URI())
	if err != nil {
		t.Fatal(err)
	}
	ofMongo, _ := uri.User.Password()
	secrets = map[string]string{
		"postgres":  server.Password(postgres.User),
		"generator": server.Password(postgres.Generator),
		"connector": server.Password(postgres.Connector),
		"check":     server.Password(postgres.Check),
		"kafka":     s.parts.kafka.Login().Password, "mongo": ofMongo,
	}
	for name, secret := range secrets {
		if len(secret) < 20 {
			t.Errorf("the password of %s is %q", name, secret)
		}
	}
	mayHold = map[string][]string{Consumer: {"kafka", "mongo"}}
	if worker, err := url.Parse(s.Endpoints().ConnectURL); err == nil && worker.User != nil {
		secrets["connect"], _ = worker.User.Password()
		mayHold[Kafka], mayHold[Connector] = []string{"kafka"}, []string{"kafka", "connector"}
	}
	return secrets, mayHold
}

// TestSecondUser: another user of the machine reads no file of a running Stack, sees no secret in
// an argument or a variable, ends no process and gets nothing from a server.
func TestSecondUser(t *testing.T) { wantNothingForNobody(t, testOptions(t)) }

// TestNativeSecondUser is TestSecondUser with Kafka, Connect and Debezium as processes.
func TestNativeSecondUser(t *testing.T) { wantNothingForNobody(t, nativeOptions(t)) }

func wantNothingForNobody(t *testing.T, options Options) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("becomes another user: only root can")
	}
	s := upForTest(t, options)
	if owner := s.parts.postgres.(*postgres.Server).Owner(); owner.Uid == nobody {
		t.Skip("this machine has no user postgres, so that PostgreSQL itself runs as nobody")
	}
	mustExec(t, s, insertCustomers, 5)
	if err := s.Drained(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	secrets, mayHold := secretsOf(t, s)
	for _, c := range s.Components() {
		for _, pid := range c.PIDs() {
			wantOnlyOwnSecrets(t, c.Name(), pid, secrets, mayHold[c.Name()])
			asNobody(t, func() {
				wantForeign(t, c.Name(), pid)
			})
		}
	}
	wantNoFileRead(t, s.Dir())
	wantNothingServed(t, s.Endpoints())
	mustExec(t, s, `INSERT INTO customer (id, email, status) VALUES
		(gen_random_uuid(), 'planted-email@example.org', 'planted-status')`)
	if err := s.Drained(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	secrets["a row's email"], secrets["a wrong value"] = "planted-email", "planted-status"
	wantPagesHarmless(t, s.Endpoints(), secrets)
}

// wantPagesHarmless wants no password, no value of a row and no profile on the pages that ask for
// no password. SECURITY.md tells what the pages show.
func wantPagesHarmless(t *testing.T, e Endpoints, hidden map[string]string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	for _, page := range append(e.ConsumerMetricsURLs, e.ConnectorMetricsURL, e.KafkaMetricsURL) {
		if page == "" {
			continue // the embedded broker has no page
		}
		base := strings.TrimSuffix(page, "/metrics")
		for _, path := range []string{"/metrics", "/", "/readyz", "/healthz", "/debug/pprof/heap",
			"/debug/pprof/cmdline", "/debug/vars", "/config", "/metrics?name[]=x"} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
				request, err := http.NewRequestWithContext(expect.Context(t), method, base+path,
					nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := client.Do(request)
				if err != nil {
					t.Errorf("%s %s: %v", method, base+path, err)
					continue
				}
				text, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || path == "/metrics" && method == http.MethodGet &&
					len(text) < 1000 {
					t.Errorf("%s %s: %d bytes, %v", method, base+path, len(text), err)
				}
				for what, value := range hidden {
					if bytes.Contains(text, []byte(value)) {
						t.Errorf("%s %s shows %s", method, base+path, what)
					}
				}
				if bytes.HasPrefix(text, []byte("\x1f\x8b")) {
					t.Errorf("%s %s serves a profile", method, base+path)
				}
			}
		}
	}
}

// wantOnlyOwnSecrets wants no secret in a child's arguments, and in the variables the child's own.
func wantOnlyOwnSecrets(t *testing.T, name string, pid int, secrets map[string]string,
	own []string) {
	t.Helper()
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return // a backend that ended meanwhile
	}
	variables, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return
	}
	for of, secret := range secrets {
		if bytes.Contains(arguments, []byte(secret)) {
			t.Errorf("the arguments of %s hold the password of %s: %.300q", name, of, arguments)
		}
		may := false
		for _, one := range own {
			may = may || one == of
		}
		if holds := bytes.Contains(variables, []byte(secret)); holds != may {
			t.Errorf("the variables of %s hold the password of %s: %v, want %v", name, of, holds,
				may)
		}
	}
}

// wantForeign wants a process out of reach of the thread's user.
func wantForeign(t *testing.T, name string, pid int) {
	t.Helper()
	for _, file := range []string{"environ", "mem", "maps", "fd", "cwd", "root", "exe"} {
		path := fmt.Sprintf("/proc/%d/%s", pid, file)
		text, err := os.ReadFile(path)
		if err == nil && len(text) > 0 {
			t.Errorf("nobody reads %s of %s", path, name)
		}
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("nobody may signal %s", name)
	}
}

// wantNoFileRead wants every file of the Stack's folder, and of the folders above, shut.
func wantNoFileRead(t *testing.T, dir string) {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a server works there
		}
		return err
	})
	if err != nil || len(paths) < 1000 {
		t.Fatalf("found %d files: %v", len(paths), err)
	}
	asNobody(t, func() {
		for _, path := range paths {
			if file, err := os.Open(path); err == nil {
				file.Close()
				t.Errorf("nobody opens %s", path)
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err == nil && len(entries) > 0 {
				t.Errorf("nobody lists %s", filepath.Dir(path))
			}
			if file, err := os.Create(filepath.Join(path, "planted")); err == nil {
				file.Close()
				t.Errorf("nobody writes below %s", path)
			}
		}
	})
}

// wantNothingServed wants every server to refuse a client without the password.
func wantNothingServed(t *testing.T, e Endpoints) {
	t.Helper()
	ctx := expect.Context(t)
	without := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.User("postgres")
		if u.Scheme == "mongodb" {
			u.User = nil
		}
		return u.String()
	}
	if conn, err := pgx.Connect(ctx, without(e.PostgresDSN)); err == nil {
		conn.Close(ctx)
		t.Error("PostgreSQL lets nobody in")
	}
	documents, err := mongodb.Connect(without(e.MongoURI))
	if err != nil {
		t.Fatal(err)
	}
	defer documents.Disconnect(ctx)
	err = documents.Database(e.MongoDatabase).Collection("customers").FindOne(ctx, bson.D{}).Err()
	if err == nil {
		t.Error("MongoDB shows nobody a document")
	}
	broker, err := kgo.NewClient(kgo.SeedBrokers(e.KafkaBrokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	if topics, err := kadm.NewClient(broker).ListTopics(ctx); err == nil {
		t.Errorf("Kafka shows nobody %v", topics.Names())
	}
}
