package apply

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
)

// parents remembers the referenced rows already there, for all partitions of the process, and wakes
// the partitions waiting for a row.
type parents struct {
	store documents.Store
	now   func() time.Time

	mu      sync.Mutex
	known   sightings // since turned
	older   sightings // from before turned
	bytes   int       // of known
	turned  time.Time
	wanted  map[string]bool // collections with references from other rows
	waiting map[chan struct{}]map[parent]bool
}

type parent struct{ collection, id string }

// sighting of a row: the position of the row's end, if any, and the time of the sighting.
type sighting struct {
	ended string
	at    time.Time
}

type sightings map[parent]sighting

// A sighting is believed for a while, because another member of the group may end the row, and
// forgotten soon after.
const (
	sightingTTL       = 10 * time.Second
	sightingsMax      = 50_000
	sightingsMaxBytes = 16 << 20 // of the ids
)

// findParents asks the store about references, and returns the rows present or ended. The error is
// the store's.
func (p *parents) findParents(ctx context.Context, refs []encode.Ref) (sightings, error) {
	found := sightings{}
	unknown := map[string][]string{}
	p.mu.Lock()
	for _, r := range refs {
		p.wanted[r.Collection] = true
		at := parent{r.Collection, r.ID}
		seen, there := p.lastSighting(at)
		if there && seen.ended == "" && p.now().Sub(seen.at) <= sightingTTL {
			found[at] = seen
		} else {
			unknown[r.Collection] = append(unknown[r.Collection], r.ID)
		}
	}
	p.mu.Unlock()
	for collection, ids := range unknown {
		slices.Sort(ids)
		stored, err := p.store.Find(ctx, collection, slices.Compact(ids), documents.MetadataMember)
		if err != nil {
			return nil, err
		}
		for _, document := range stored {
			if m := documents.MetadataOf(document); !m.Shell {
				found[parent{collection, m.ID}] = sighting{ended: m.Ended()}
				p.noteSighting(collection, m.ID, m.Ended())
			}
		}
	}
	return found, nil
}

// lastSighting is the last sighting of a row, with the lock held.
func (p *parents) lastSighting(at parent) (sighting, bool) {
	seen, there := p.known[at]
	if !there {
		seen, there = p.older[at]
	}
	return seen, there
}

// noteSighting notes a row, and wakes the partitions waiting for the row.
func (p *parents) noteSighting(collection, id, ended string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted[collection] {
		return
	}
	now := p.now()
	if len(p.known) >= sightingsMax/2 || p.bytes >= sightingsMaxBytes/2 ||
		now.Sub(p.turned) > sightingTTL {
		p.known, p.older, p.turned, p.bytes = p.older, p.known, now, 0
		clear(p.known)
	}
	at := parent{collection, id}
	if before, _ := p.lastSighting(at); ended == "" || ended > before.ended {
		p.known[at] = sighting{ended, now}
		p.bytes += len(id)
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

// missingParents returns the references of a draft to rows not there, or ended before the draft.
func (s sightings) missingParents(d *draft) []encode.Ref {
	if d.endsTheRow() {
		return nil
	}
	var lacks []encode.Ref
	for _, r := range d.references {
		seen, there := s[parent{r.Collection, r.ID}]
		if !there || seen.ended != "" && seen.ended < d.position {
			lacks = append(lacks, r)
		}
	}
	return lacks
}

// wakeWhenSeen replaces the references awaited by wake: a sighting of any sends to wake.
func (p *parents) wakeWhenSeen(refs []encode.Ref, wake chan struct{}) {
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
