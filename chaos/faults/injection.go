package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Injection is a fault bound to a target: the timeline's calls, in the order of the members.
type Injection struct {
	// Healthy returns nil while the target serves.
	Healthy func(context.Context) error
	Inject  func(context.Context) error
	// During checks, just before Undo, that the fault is in force, and returns the evidence.
	During func(context.Context) (string, error)
	// Undo ends the fault, also after an Inject that failed in the middle.
	Undo func(context.Context) error
	// After returns the evidence that shows only once the target is back; nil for none.
	After func(context.Context) (string, error)
	// Bytes counts the bytes through the proxy since the proxy's start; nil for a part.
	Bytes func() (int64, error)
	// Recovered returns nil while the whole pipeline serves, and may be missing.
	Recovered func(context.Context) error
	// Others is true while another fault is at work, and may be missing.
	Others func() bool
}

// Site is where a fault is applied.
type Site struct {
	// Target is the name in the plan, With the fault's parameters.
	Target string
	With   Values
	// Part is the target of a fault on a part, Wire of a fault on a proxy.
	Part stack.Component
	Wire Wire
	// Ends are the parts that must serve before and after the fault.
	Ends []stack.Component
	// At are the addresses of the pipeline; Stack is the whole pipeline, nil for faults that need
	// less.
	At    stack.Endpoints
	Stack *stack.Stack
	// Profile is the configuration of the pipeline's Debezium, "" without Debezium.
	Profile string
}

// Wire is the part of a proxy that faults need.
type Wire struct {
	Name, Listen string
	Add          func(proxy.Toxic) error
	Remove       func(string) error
	// Bytes counts the bytes through the proxy since the proxy's start.
	Bytes func() (int64, error)
	// Hold, Held and Deliver are the proxy's.
	Hold    func() error
	Held    func() (int64, error)
	Deliver func() error
}

func wireOf(p *proxy.Proxy) Wire {
	return Wire{p.Name(), p.Listen(), p.Add, p.Remove, func() (int64, error) {
		in, out, err := p.Bytes()
		return in + out, err
	}, p.Hold, p.Held, p.Deliver}
}

// Find finds the target of a fault of the Kind in s.
func (k Kind) Find(s *stack.Stack, target string, with Values) (Site, error) {
	site := Site{Target: target, With: with, At: s.Endpoints(), Stack: s,
		Profile: s.Profile()}
	if !k.OnProxy() {
		part, err := s.Component(target)
		site.Part, site.Ends = part, []stack.Component{part}
		return site, err
	}
	proxy, err := s.Proxy(target)
	if err != nil {
		return site, err
	}
	site.Wire = wireOf(proxy)
	for _, name := range strings.Split(target, "-") {
		end, err := s.Component(name)
		if err != nil {
			return site, fmt.Errorf("end of proxy %s: %w", target, err)
		}
		site.Ends = append(site.Ends, end)
	}
	return site, nil
}

// healthLimit bounds one check of a part's health: a paused part does not answer at all.
const healthLimit = 2 * time.Second

// healthy checks the ends of the Site.
func (s Site) healthy(ctx context.Context) error {
	for _, c := range s.Ends {
		limited, cancel := context.WithTimeout(ctx, healthLimit)
		err := c.Health(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("health of %s: %w", c.Name(), err)
		}
	}
	return nil
}

// needs refuses a part that is no T: the sentence is the part's name with what the part lacks.
func needs[T any](lacks string) func(Site) error {
	return func(s Site) error {
		if _, is := s.Part.(T); !is {
			return errors.New(s.Target + lacks)
		}
		return nil
	}
}

// hasProcess refuses a part that runs inside the lab's process. A container's processes have no
// numbers here.
func hasProcess(s Site) error {
	if _, is := s.Part.(container); !is && len(s.Part.PIDs()) == 0 {
		return errors.New(s.Target + " is no process of its own on this stack")
	}
	return nil
}

// session is a connection to PostgreSQL that a fault keeps.
type session struct {
	dsn  string
	conn *pgx.Conn
}

// open connects as the superuser, in place of an open connection.
func (s *session) open(ctx context.Context) (err error) {
	if err := s.close(ctx); err != nil {
		return err
	}
	s.conn, err = pg.Connect(ctx, s.dsn)
	return err
}

// exec runs statements that need no argument.
func (s *session) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := s.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// alive refuses a transaction that ended before the fault did.
func (s *session) alive(ctx context.Context) error {
	if s.conn == nil {
		return errors.New("there is no transaction")
	}
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("the transaction ended before the fault did: %w", err)
	}
	return nil
}

// close ends the connection, and with the connection its transaction.
func (s *session) close(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}

// ask asks for a row over a connection of its own, because the fault's connection may break, and
// waits for a PostgreSQL that another fault has down.
func ask(ctx context.Context, dsn, query string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var conn *pgx.Conn
	if err := until(ctx, func() (err error) {
		conn, err = pg.Connect(ctx, dsn)
		return err
	}); err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, query, args...).Scan(into...)
}

// askLimit bounds one question to PostgreSQL, and the wait for a connector that streams.
const askLimit = 10 * time.Second

// untilTick lies between two questions of until.
const untilTick = 50 * time.Millisecond

// until asks again and again until the answer is nil, or ctx ends.
func until(ctx context.Context, answer func() error) error {
	tick := time.NewTicker(untilTick)
	defer tick.Stop()
	for {
		err := answer()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
