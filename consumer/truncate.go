package consumer

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// truncates remembers, for all partitions of the process, the position of each table's last
// truncate: older rows that are still on their way are not written any more. Another member of the
// group learns of it when it gets a partition: with several members a truncate is exact only where
// the topic has one partition. Debezium leaves truncates out by default.
type truncates struct {
	mu sync.Mutex
	at map[string]string // by truncateID; "" where none is known
}

func truncateID(spec *entity.Spec) string { return "truncate/" + spec.Collection + "/" + spec.Entity }

// load looks up those tables that are not known yet.
func (t *truncates) load(ctx context.Context, s store, drafts []*draft) error {
	for _, d := range drafts {
		id := truncateID(d.table.Spec())
		t.mu.Lock()
		_, known := t.at[id]
		t.mu.Unlock()
		if known {
			continue
		}
		found, err := s.find(ctx, keptCollection, []string{id}, metadataMember)
		if err != nil {
			return err
		}
		t.set(id, metadataOf(found[id]).position)
	}
	return nil
}

func (t *truncates) set(id, position string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = map[string]string{}
	}
	t.at[id] = max(t.at[id], position)
}

// truncatedSince: the row was ended by a truncate that came first.
func (s *settler) truncatedSince(d *draft) bool {
	s.truncates.mu.Lock()
	defer s.truncates.mu.Unlock()
	truncated := s.truncates.at[truncateID(d.table.Spec())]
	if d.op == debezium.Truncate || d.position >= truncated || d.readSince(truncated) {
		return false
	}
	s.metrics.settled(d, OutcomeStale)
	return true
}

// truncate ends every row of the table that is older.
func (s *settler) truncate(ctx context.Context, d *draft) error {
	const most = 1000
	spec := d.table.Spec()
	id := truncateID(spec)
	gone := []write{{change: change{place: place{collection: keptCollection, id: id}, draft: d}}}
	end := func(p place) {
		gone = append(gone, write{change: change{place: p, draft: d, deleted: true, aside: true}})
	}
	flush := func() error {
		for _, done := range s.store.apply(ctx, gone) {
			if done.err != nil {
				return fmt.Errorf("truncate %s: %w", spec.Table, done.err)
			}
		}
		gone = gone[:0]
		return nil
	}
	if err := flush(); err != nil {
		return err
	}
	s.truncates.set(id, d.position)
	err := s.store.all(ctx, spec.Collection, func(document bson.Raw) error {
		if err := liveRows(document, spec, end); err != nil {
			return err
		}
		if len(gone) < most {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	s.metrics.settled(d, OutcomeApplied)
	return nil
}

// liveRows visits the places of the spec's rows in the document that have not ended.
func liveRows(document bson.Raw, spec *entity.Spec, visit func(place)) error {
	m := metadataOf(document)
	if spec.Embed == nil {
		if !m.deleted && !m.shell {
			visit(place{collection: spec.Collection, id: m.id})
		}
		return nil
	}
	rows, is := document.Lookup(spec.Embed.Field).DocumentOK()
	if !is {
		return nil
	}
	elements, err := rows.Elements()
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", spec.Embed.Field, spec.Collection, err)
	}
	for _, e := range elements {
		if row, is := e.Value().DocumentOK(); is && !metadataOf(row).deleted {
			visit(place{spec.Collection, m.id, spec.Embed.Field, e.Key()})
		}
	}
	return nil
}
