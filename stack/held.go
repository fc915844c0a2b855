package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// ErrNothingHeld says that no living process holds a Stack.
var ErrNothingHeld = errors.New("nothing is held; `cdclab up` brings a stack up")

const (
	// answerLimit bounds how long a part of a held Stack may take to answer.
	answerLimit = 5 * time.Second
	// releaseLimit bounds how long the holder may take to end.
	releaseLimit = 30 * time.Second
)

// Held is a Stack of another process of this machine. The holder keeps a note of it in the cache
// folder for as long as the Stack is up.
type Held struct {
	// Holder is the process that holds the Stack.
	Holder process.Identity `json:"holder"`
	// Endpoints are where the parts of the Stack are reached.
	Endpoints Endpoints `json:"endpoints"`
}

// ErrStarting says that the holder is still bringing its Stack up.
var ErrStarting = errors.New("the stack is not up yet")

// Holding is the right of this process to hold a Stack.
type Holding struct {
	self process.Identity
	path string
	lock *os.File
}

// Hold takes the right to hold a Stack, before the Stack is there, so that of two holders started
// at once the second is refused. From then on Held.End finds this process.
func Hold() (*Holding, error) {
	path, err := heldPath()
	if err != nil {
		return nil, err
	}
	self, err := process.Find(os.Getpid())
	if err != nil {
		return nil, err
	}
	lock, err := process.TryLock(path)
	if errors.Is(err, process.ErrLocked) {
		held, err := FindHeld()
		if err != nil && !errors.Is(err, ErrStarting) {
			return nil, fmt.Errorf("another process is about to hold a stack (%w)", err)
		}
		return nil, fmt.Errorf("process %d holds a stack already; `cdclab down` ends it",
			held.Holder.PID)
	}
	if err != nil {
		return nil, fmt.Errorf("note what is held: %w", err)
	}
	h := &Holding{self.Identity, path, lock}
	if err := h.Note(Endpoints{}); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return h, nil
}

// Note notes where the parts of the held Stack are reached. The note is for this user alone,
// because the addresses hold passwords.
func (h *Holding) Note(endpoints Endpoints) error {
	text, err := json.Marshal(Held{h.self, endpoints})
	if err != nil {
		return fmt.Errorf("note what is held: %w", err)
	}
	// The lock makes this process the only one to write the note.
	unfinished := h.path + ".new"
	file, err := process.OpenOf(os.Geteuid(), unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("note what is held: %w", err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(unfinished, h.path)
	}
	if err != nil {
		return fmt.Errorf("note what is held: %w", err)
	}
	return nil
}

// Release comes after Stack.Down, because Held.End waits for the note to go.
func (h *Holding) Release() error {
	return errors.Join(os.Remove(h.path), h.lock.Close())
}

// mostHeld bounds a note, in bytes.
const mostHeld = 64 << 10

// FindHeld returns the held Stack, or ErrNothingHeld, also after the holder's death. With
// ErrStarting comes the holder alone. A note of another user, or open to other users' writes, is
// an error, because Held.End would signal whatever process the note names.
func FindHeld() (*Held, error) {
	path, err := heldPath()
	if err != nil {
		return nil, err
	}
	text, err := process.ReadOf(os.Geteuid(), path, mostHeld)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNothingHeld
	}
	if err != nil {
		return nil, fmt.Errorf("read what is held: %w", err)
	}
	var held Held
	if err := json.Unmarshal(text, &held); err != nil {
		return nil, fmt.Errorf("read what is held: %s: %w", path, err)
	}
	if !held.Holder.Alive() {
		return nil, ErrNothingHeld
	}
	if len(held.Endpoints.KafkaBrokers) == 0 {
		return &held, fmt.Errorf("process %d: %w", held.Holder.PID, ErrStarting)
	}
	return &held, nil
}

func heldPath() (string, error) {
	dir, err := programs.CacheDir("")
	return filepath.Join(dir, "up.json"), err
}

// End asks the holder to end, and returns when the holder has taken the Stack down.
func (h *Held) End(ctx context.Context) error {
	// A frozen holder would act on the signal only after a thaw.
	err := errors.Join(h.Holder.Signal(syscall.SIGTERM), h.Holder.Signal(syscall.SIGCONT))
	if err != nil {
		return fmt.Errorf("end what is held: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := FindHeld()
		switch {
		case errors.Is(err, ErrNothingHeld):
			return nil
		case err != nil && !errors.Is(err, ErrStarting):
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", h.Holder.PID, ctx.Err())
		case <-tick.C:
		}
	}
}

// Ask asks each part at its endpoint, in turn, and calls told with the part's name, its address,
// and nil for a serving part. A connector serves while running, every other part when it takes a
// connection.
func (e Endpoints) Ask(ctx context.Context, told func(name, address string, err error)) {
	ask := func(name, address string, question func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		told(name, address, question(ctx))
	}
	dial := func(name, address string) {
		ask(name, address, func(ctx context.Context) error {
			connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return connection.Close()
		})
	}
	dial(Postgres, hostOf(e.PostgresDSN))
	dial(Kafka, e.KafkaBrokers[0])
	dial(Mongo, hostOf(e.MongoURI))
	if url := cmp.Or(e.ConnectURL, e.ConnectorMetricsURL); url != "" {
		ask(Connector, hostOf(url), e.ConnectorHealth)
	}
	for n, url := range e.ConsumerMetricsURLs {
		dial(ConsumerName(n+1), hostOf(url))
	}
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return u.Host
}
