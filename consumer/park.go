package consumer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/entity"
)

// parking holds the events of one partition that wait for a row they refer to. It is memory only:
// the offset does not move past the oldest, so that Kafka delivers them again to whoever takes the
// partition after a crash. Later events of a parked row wait behind it. It is used by the
// partition's goroutine alone.
type parking struct {
	chains  map[string][]*draft // by row, each in the order of the log
	count   int
	bytes   int
	max     int
	changed bool // since the partition last asked to be woken
	room    *parkingRoom
	wake    chan struct{} // holds one: a row that is waited for may have come
}

// parkingRoom bounds the parked bytes of the process: to max, and where that is used up to a share of
// it and a batch for each partition.
type parkingRoom struct {
	mu    sync.Mutex
	bytes int
	max   int
}

func (r *parkingRoom) add(bytes int) {
	r.mu.Lock()
	r.bytes += bytes
	r.mu.Unlock()
}

func (r *parkingRoom) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes >= r.max
}

func newParking(room *parkingRoom, most int) *parking {
	return &parking{chains: map[string][]*draft{}, max: most, room: room,
		wake: make(chan struct{}, 1)}
}

// shares: a partition that has less than one of so many parts of the room goes on even where others
// have used it up, so that a flood of orphans holds up its own partitions only.
const shares = 16

// full says that the partition must take no more until some have gone.
func (p *parking) full() bool {
	return p.count >= p.max || p.bytes > p.room.max/shares && p.room.full()
}

func (d *draft) row() string { return d.table.Spec().Collection + "/" + d.entity + "/" + d.key }

// add parks a draft. It is copied, and so is its record: the job's memory is used again, and a key or
// value is a part of all that was fetched with it.
func (p *parking) add(d *draft, now time.Time) {
	parked := *d
	parked.record, parked.members = cloneRecord(d.record), slices.Clone(d.members)
	parked.size = len(d.record.Key) + len(d.record.Value) + len(d.members) + 1024
	for _, h := range d.record.Headers {
		parked.size += len(h.Key) + len(h.Value) + 64
	}
	if parked.waiting.IsZero() {
		parked.waiting = now
	}
	p.chains[d.row()] = append(p.chains[d.row()], &parked)
	p.count++
	p.bytes += parked.size
	p.room.add(parked.size)
	p.changed = true
}

func cloneRecord(r *kgo.Record) *kgo.Record {
	clone := *r
	clone.Key, clone.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	clone.Headers = slices.Clone(r.Headers)
	for i := range clone.Headers {
		h := &clone.Headers[i]
		h.Key, h.Value = strings.Clone(h.Key), bytes.Clone(h.Value)
	}
	return &clone
}

// take ends the parking of a row's events, and returns them.
func (p *parking) take(row string) []*draft {
	chain := p.chains[row]
	delete(p.chains, row)
	p.changed = p.changed || len(chain) > 0
	for _, d := range chain {
		p.count--
		p.bytes -= d.size
		p.room.add(-d.size)
	}
	return chain
}

// newest is the row's last state, wherever it is in the log.
func newest(chain []*draft) *draft {
	last := chain[0]
	for _, d := range chain {
		if d.position > last.position {
			last = d
		}
	}
	return last
}

// lowest is the offset of the oldest parked record; false where there is none.
func (p *parking) lowest() (int64, bool) {
	lowest, any := int64(0), false
	for _, chain := range p.chains {
		if offset := chain[0].record.Offset; !any || offset < lowest {
			lowest, any = offset, true
		}
	}
	return lowest, any
}

// oldest is since when the longest parked waits; zero where none does.
func (p *parking) oldest() time.Time {
	var oldest time.Time
	for _, chain := range p.chains {
		if since := chain[0].waiting; oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	return oldest
}

// awaited are what the parked rows wait for, by their newest state.
func (p *parking) awaited() []entity.Ref {
	var all []entity.Ref
	for _, chain := range p.chains {
		all = append(all, newest(chain).references...)
	}
	return all
}

// references are those of all that is parked.
func (p *parking) references() []entity.Ref {
	var all []entity.Ref
	for _, chain := range p.chains {
		for _, d := range chain {
			all = append(all, d.references...)
		}
	}
	return all
}

// due takes the rows that need not wait any longer: those whose references have come by their newest
// state, and those whose grace is over, with what they lack. Their drafts are judged.
func (p *parking) due(now time.Time, found sightings) (ready []*draft) {
	for row, chain := range p.chains {
		lacks := found.missing(newest(chain))
		if len(lacks) > 0 && !graceOver(lacks, chain[0].waiting, now) {
			continue
		}
		for _, d := range p.take(row) {
			if d.judged = true; len(lacks) > 0 {
				d.orphan = orphaned(found.missing(d))
			}
			ready = append(ready, d)
		}
	}
	slices.SortFunc(ready, byOffset)
	return ready
}

func byOffset(a, b *draft) int { return int(a.record.Offset - b.record.Offset) }

// graceOver: every missing reference has had its time.
func graceOver(lacks []entity.Ref, since, now time.Time) bool {
	for _, r := range lacks {
		if now.Sub(since) < r.Grace {
			return false
		}
	}
	return true
}

// orphaned are the violations of a draft that lacks references after its grace.
func orphaned(lacks []entity.Ref) []entity.Violation {
	var all []entity.Violation
	for _, r := range lacks {
		v := entity.Violation{Rule: ruleReference, Field: r.Column, Severity: entity.Warn,
			Reason: "refers to a row that did not come within the grace period"}
		if r.Missing == entity.DeadLetter {
			v.Severity = entity.Reject
		}
		all = append(all, v)
	}
	return all
}

// parents remembers which referenced rows are there, for all partitions of the process, and wakes
// those that wait for one.
type parents struct {
	store store
	now   func() time.Time

	mu      sync.Mutex
	known   sightings // since turned
	older   sightings // from before that
	turned  time.Time
	wanted  map[string]bool // collections that some row refers to
	waiting map[chan struct{}]map[parent]bool
}

type parent struct{ collection, id string }

// sighting of a row: the position of its end, if it has one, and when this was seen.
type sighting struct {
	ended string
	at    time.Time
}

type sightings map[parent]sighting

// A sighting is believed for a while: another member of the group may end the row. It is forgotten
// soon after.
const (
	sightingTTL  = 10 * time.Second
	sightingsMax = 50_000
)

func newParents(s store, now func() time.Time) *parents {
	return &parents{store: s, now: now, known: sightings{}, older: sightings{}, wanted: map[string]bool{},
		waiting: map[chan struct{}]map[parent]bool{}}
}

// look finds out about references: it returns the rows that are there, or were. The error is the
// store's.
func (p *parents) look(ctx context.Context, refs []entity.Ref) (sightings, error) {
	found := sightings{}
	unknown := map[string][]string{}
	p.mu.Lock()
	for _, r := range refs {
		p.wanted[r.Collection] = true
		at := parent{r.Collection, r.ID}
		seen, there := p.last(at)
		if there && seen.ended == "" && p.now().Sub(seen.at) <= sightingTTL {
			found[at] = seen
		} else {
			unknown[r.Collection] = append(unknown[r.Collection], r.ID)
		}
	}
	p.mu.Unlock()
	for collection, ids := range unknown {
		slices.Sort(ids)
		documents, err := p.store.find(ctx, collection, slices.Compact(ids), metadataMember)
		if err != nil {
			return nil, err
		}
		for _, document := range documents {
			if m := metadataOf(document); !m.shell {
				found[parent{collection, m.id}] = sighting{ended: m.ended()}
				p.see(collection, m.id, m.ended())
			}
		}
	}
	return found, nil
}

// last is the last sighting of a row, with the lock held.
func (p *parents) last(at parent) (sighting, bool) {
	seen, there := p.known[at]
	if !there {
		seen, there = p.older[at]
	}
	return seen, there
}

// see notes a row, and wakes who waits for it.
func (p *parents) see(collection, id, ended string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted[collection] {
		return
	}
	now := p.now()
	if len(p.known) >= sightingsMax/2 || now.Sub(p.turned) > sightingTTL {
		p.known, p.older, p.turned = p.older, p.known, now
		clear(p.known)
	}
	at := parent{collection, id}
	if before, _ := p.last(at); ended == "" || ended > before.ended {
		p.known[at] = sighting{ended, now}
	}
	for wake, wanted := range p.waiting {
		if !wanted[at] {
			continue
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// missing are those references of a draft that are not there, or ended before it.
func (s sightings) missing(d *draft) []entity.Ref {
	if d.deleted() {
		return nil
	}
	var lacks []entity.Ref
	for _, r := range d.references {
		seen, there := s[parent{r.Collection, r.ID}]
		if !there || seen.ended != "" && seen.ended < d.position {
			lacks = append(lacks, r)
		}
	}
	return lacks
}

// await has wake told when one of the references comes, and of no others any more.
func (p *parents) await(refs []entity.Ref, wake chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, wake)
	if len(refs) == 0 {
		return
	}
	wanted := map[parent]bool{}
	for _, r := range refs {
		wanted[parent{r.Collection, r.ID}] = true
	}
	p.waiting[wake] = wanted
}

// due puts those parked events into the job that need not wait any longer. The error is the store's.
func (s *settler) due(ctx context.Context, j *job) error {
	found, err := s.parents.look(ctx, s.parking.references())
	if err != nil {
		return fmt.Errorf("look for referenced rows: %w", err)
	}
	for _, d := range s.parking.due(s.now(), found) {
		if !slices.ContainsFunc(d.orphan, func(v entity.Violation) bool { return v.Severity == entity.Reject }) {
			j.drafts = append(j.drafts, d)
		} else if err := s.rules.judge(d, d.orphan); err != nil {
			j.rejected = append(j.rejected, d.letter(err))
		}
	}
	return nil
}

// await has the partition woken when a row comes that a parked event refers to.
func (s *settler) await() {
	if !s.parking.changed {
		return
	}
	s.parking.changed = false
	s.parents.await(s.parking.awaited(), s.parking.wake)
	s.metrics.parked(s.parking)
}

// empty forgets all.
func (p *parking) empty() {
	for row := range p.chains {
		p.take(row)
	}
}
