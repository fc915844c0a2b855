package apply

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
)

// parking holds the events of a partition that wait for a referenced row, in memory only: the
// offset does not move past the oldest, so that Kafka delivers the events again to the partition's
// next owner after a crash. Later events of a parked row wait behind the parked event. Only the
// partition's goroutine uses parking.
type parking struct {
	chains  map[string]*chain // by row
	count   int
	bytes   int
	max     int
	changed bool // since the partition last asked to be woken
	room    *Room
	wake    chan struct{} // holds one: an awaited row may have come
}

// chain is the parked events of a row, in the order of the log, and the row's last state, wherever
// in the log. A nil chain is empty.
type chain struct {
	drafts []*draft
	newest *draft
}

// newestWith returns the row's last state with another event at the end of the log.
func (c *chain) newestWith(d *draft) *draft {
	if c == nil || d.position > c.newest.position {
		return d
	}
	return c.newest
}

// Room bounds the bytes of records that a process holds, queued, taken or parked: to max, and
// beyond max to a share of max for each partition, and the last fetch. Room is safe for concurrent
// use.
type Room struct {
	mu    sync.Mutex
	bytes int
	max   int
}

// NewRoom returns an empty room of max bytes.
func NewRoom(max int) *Room { return &Room{max: max} }

// Add notes that a partition holds so many bytes more, or fewer.
func (r *Room) Add(bytes int) {
	r.mu.Lock()
	r.bytes += bytes
	r.mu.Unlock()
}

// Bytes returns the bytes of all partitions.
func (r *Room) Bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// HasRoom returns true if a partition with so many bytes of its own may hold more.
func (r *Room) HasRoom(own int) bool { return own <= r.max/shares || r.Bytes() < r.max }

// RecordBytes returns the memory of a record in bytes, with the structures around.
func RecordBytes(r *kgo.Record) int {
	bytes := len(r.Key) + len(r.Value) + 256
	for _, h := range r.Headers {
		bytes += len(h.Key) + len(h.Value) + 64
	}
	return bytes
}

// shares is the number of parts of the room: a partition below one part goes on even in a room used
// up by others, so that a flood of orphans holds up no other partitions.
const shares = 16

// takesNoMore returns true if the partition must take no more until some events have gone.
func (p *parking) takesNoMore() bool {
	return p.count >= p.max || !p.room.HasRoom(p.bytes)
}

func (d *draft) rowName() string { return d.table.Spec().Collection + "/" + d.entity + "/" + d.key }

// chainOf returns the parked events of the draft's row; nil where there are none.
func (p *parking) chainOf(d *draft) *chain {
	if p.count == 0 {
		return nil
	}
	return p.chains[d.rowName()]
}

// parkDraft parks a copy of the draft and the draft's record, because the job's memory is used
// again, and a key or value is a part of all bytes of the fetch.
func (p *parking) parkDraft(d *draft, now time.Time) {
	parked := *d
	parked.record, parked.members = cloneRecord(d.record), slices.Clone(d.members)
	parked.size = RecordBytes(d.record) + len(d.members) + 768
	if parked.waiting.IsZero() {
		parked.waiting = now
	}
	row := d.rowName()
	if p.chains[row] == nil {
		p.chains[row] = &chain{newest: &parked}
	}
	of := p.chains[row]
	of.newest, of.drafts = of.newestWith(&parked), append(of.drafts, &parked)
	p.count++
	p.bytes += parked.size
	p.room.Add(parked.size)
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

// takeChain ends the parking of a row's events, and returns the events.
func (p *parking) takeChain(row string) []*draft {
	of := p.chains[row]
	if of == nil {
		return nil
	}
	delete(p.chains, row)
	p.changed = true
	for _, d := range of.drafts {
		p.count--
		p.bytes -= d.size
		p.room.Add(-d.size)
	}
	return of.drafts
}

// draftsOf returns a row's parked events, in the order of the log.
func (p *parking) draftsOf(row string) []*draft {
	if of := p.chains[row]; of != nil {
		return of.drafts
	}
	return nil
}

// lowestOffset is the offset of the oldest parked record; false where there is none.
func (p *parking) lowestOffset() (int64, bool) {
	lowest, any := int64(0), false
	for _, of := range p.chains {
		if offset := of.drafts[0].record.Offset; !any || offset < lowest {
			lowest, any = offset, true
		}
	}
	return lowest, any
}

// oldestSince is since when the longest parked waits; zero where none does.
func (p *parking) oldestSince() time.Time {
	var oldest time.Time
	for _, of := range p.chains {
		if since := of.drafts[0].waiting; oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	return oldest
}

// awaitedParents returns the references of the parked rows, by newest state.
func (p *parking) awaitedParents() []encode.Ref {
	var all []encode.Ref
	for _, of := range p.chains {
		all = append(all, of.newest.references...)
	}
	return all
}

// parkedReferences returns the references of all parked events.
func (p *parking) parkedReferences() []encode.Ref {
	var all []encode.Ref
	for _, of := range p.chains {
		for _, d := range of.drafts {
			all = append(all, d.references...)
		}
	}
	return all
}

// takeReleased takes the rows with all references of the newest state there, and the rows with the
// grace over, with the missing references. The drafts of both are judged.
func (p *parking) takeReleased(now time.Time, found sightings) (ready []*draft) {
	for row, of := range p.chains {
		lacks := found.missingParents(of.newest)
		if len(lacks) > 0 && !graceIsOver(lacks, of.drafts[0].waiting, now) {
			continue
		}
		for _, d := range p.takeChain(row) {
			if d.judged = true; len(lacks) > 0 {
				d.orphan = orphanViolations(found.missingParents(d))
			}
			ready = append(ready, d)
		}
	}
	slices.SortFunc(ready, func(a, b *draft) int { return int(a.record.Offset - b.record.Offset) })
	return ready
}

// graceIsOver returns true if the grace of every missing reference is over.
func graceIsOver(lacks []encode.Ref, since, now time.Time) bool {
	for _, r := range lacks {
		if now.Sub(since) < r.Grace {
			return false
		}
	}
	return true
}

// orphanViolations returns the violations of a draft with missing references after the grace.
func orphanViolations(lacks []encode.Ref) []entity.Violation {
	var all []entity.Violation
	for _, r := range lacks {
		v := entity.Violation{Rule: fate.RuleReference, Field: r.Column, Severity: entity.Warn,
			Reason: "refers to a row that did not come within the grace period"}
		if r.Missing == entity.DeadLetter {
			v.Severity = entity.Reject
		}
		all = append(all, v)
	}
	return all
}
