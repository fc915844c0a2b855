package recording

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
)

// postgres is a model of a table of PostgreSQL: transactions overlap, lock rows, and enter the log
// as they write, while the log is read commit by commit.
type postgres struct {
	random  *rand.Rand
	lsn     uint64
	nextXid int64
	rows    map[int]int // committed
	open    []*transaction
	locks   map[int]*transaction
	log     []logged // in the order of commits
	value   int
}

type transaction struct {
	xid     int64
	changes []logged
	rows    map[int]*int // written, nil for a deleted row
}

// logged is a message of the log's reader: a change, the end of a transaction, or a mark of the
// signal table.
type logged struct {
	xid int64
	lsn uint64
	op  string // c, u, d; "commit", "open", "close"
	key int
	row int
}

const overlapKeys = 8

// act does a random step of a random client.
func (p *postgres) act() {
	switch n := p.random.IntN(10); {
	case n == 0 && len(p.open) < 4:
		p.open = append(p.open, &transaction{xid: p.nextXid, rows: map[int]*int{}})
		p.nextXid++
	case n < 7 && len(p.open) > 0:
		p.write(p.open[p.random.IntN(len(p.open))], p.random.IntN(overlapKeys))
	case len(p.open) > 0:
		p.commit(p.open[p.random.IntN(len(p.open))])
	}
}

func (p *postgres) write(t *transaction, key int) {
	if holder := p.locks[key]; holder != nil && holder != t {
		return
	}
	p.locks[key] = t
	_, there := p.rows[key]
	if own, written := t.rows[key]; written {
		there = own != nil
	}
	p.value++
	row, c := p.value, logged{xid: t.xid, key: key, row: p.value}
	p.lsn += uint64(8 + p.random.IntN(64))
	c.lsn = p.lsn
	switch {
	case !there:
		c.op, t.rows[key] = "c", &row
	case p.random.IntN(3) == 0:
		c.op, t.rows[key] = "d", nil
	default:
		c.op, t.rows[key] = "u", &row
	}
	t.changes = append(t.changes, c)
}

func (p *postgres) commit(t *transaction) {
	p.lsn += uint64(8 + p.random.IntN(64))
	p.log = append(append(p.log, t.changes...), logged{xid: t.xid, lsn: p.lsn, op: "commit"})
	for key, row := range t.rows {
		delete(p.locks, key)
		if delete(p.rows, key); row != nil {
			p.rows[key] = *row
		}
	}
	p.open = slices.DeleteFunc(p.open, func(o *transaction) bool { return o == t })
}

// mark commits a row of the signal table.
func (p *postgres) mark(op string) {
	t := &transaction{xid: p.nextXid}
	p.nextXid++
	p.lsn += 8
	t.changes = []logged{{xid: t.xid, lsn: p.lsn, op: op}}
	p.commit(t)
}

// xids returns pg_current_snapshot()'s least open and least unassigned transaction.
func (p *postgres) xids() (least, next int64) {
	least = p.nextXid
	for _, t := range p.open {
		least = min(least, t.xid)
	}
	return least, p.nextXid
}

// connector is a model of a connector with an incremental snapshot. Source: Debezium 3.6.1,
// PostgresReadOnlyIncrementalSnapshotContext.java and its ChangeEventSource, and
// AbstractIncrementalSnapshotChangeEventSource.java.
type connector struct {
	*postgres
	old      bool // the sequence of Debezium 1.5 and 1.6
	readOnly bool
	next     int // of the log

	lastCommit, lsn uint64
	txID            int64
	frozen          [2]uint64

	running             bool
	chunk, passes       int
	window              map[int]int
	opened, marked      bool
	lowLeast, lowNext   int64
	highLeast, highNext int64
	sent                tape
}

func (d *connector) readChunk() {
	if d.chunk == overlapKeys {
		if d.chunk = 0; d.passes == 0 {
			d.running = false
			return
		}
		d.passes--
	}
	if d.lowLeast, d.lowNext = d.xids(); !d.readOnly {
		d.mark("open")
	}
	d.meanwhile(3)
	for range 2 {
		if row, there := d.rows[d.chunk]; there {
			d.window[d.chunk] = row
		}
		d.chunk++
	}
	d.meanwhile(3)
	if d.highLeast, d.highNext = d.xids(); !d.readOnly {
		d.mark("close")
	}
	d.marked = true
}

func (d *connector) meanwhile(most int) {
	for range d.random.IntN(most + 1) {
		d.act()
	}
}

func (d *connector) sendWindow() {
	for key, row := range d.window {
		d.send(taped{op: "r", snapshot: "incremental", key: docKey(key), after: rowOf(key, row)},
			key)
	}
	clear(d.window)
}

func (d *connector) closeWindow() {
	d.opened, d.marked = false, false
	d.sendWindow()
	d.readChunk()
}

// receive takes the next message of the log.
func (d *connector) receive() {
	if d.next == len(d.log) {
		return
	}
	m := d.log[d.next]
	d.next++
	switch m.op {
	case "commit":
		d.lastCommit, d.lsn, d.txID, d.frozen = m.lsn, m.lsn, m.xid, [2]uint64{m.lsn, m.lsn}
		if d.readOnly {
			d.readUntilNewTransaction()
		}
		return
	case "open", "close":
		if d.lsn, d.txID = m.lsn, m.xid; m.op == "open" {
			d.opened = true
		} else if d.running {
			d.closeWindow()
		}
		return
	}
	d.lsn, d.txID = m.lsn, m.xid
	d.beforeChange(m)
	one := taped{op: m.op, key: docKey(m.key), after: rowOf(m.key, m.row)}
	if m.op == "d" {
		one.before, one.after = fmt.Sprintf(`{"id":%d,"v":null}`, m.key), ""
	}
	d.send(one, m.key)
	if m.op == "d" {
		d.sent = append(d.sent, taped{table: "k", partition: int32(m.key % 2), key: docKey(m.key)})
	}
}

// beforeChange is processMessage: the window closes, or loses the changed row.
func (d *connector) beforeChange(m logged) {
	if !d.running {
		return
	}
	if !d.readOnly {
		if d.opened {
			delete(d.window, m.key)
		}
		return
	}
	if !d.opened && d.marked {
		d.opened = m.xid >= d.lowLeast
	}
	if d.opened && d.marked && m.xid > max(d.highNext, d.lowNext) {
		d.opened, d.marked = false, false
	}
	if !d.opened {
		d.closeWindow()
	} else {
		delete(d.window, m.key)
	}
}

// readUntilNewTransaction follows a commit or a heartbeat.
func (d *connector) readUntilNewTransaction() {
	if d.running && d.marked && d.highNext == d.txID {
		d.closeWindow()
		return
	}
	for d.running && d.marked && d.txID <= d.highLeast {
		least, next := d.highLeast, d.highNext
		d.closeWindow()
		if d.highLeast != least || d.highNext != next {
			return
		}
	}
}

func (d *connector) send(one taped, key int) {
	one.table, one.partition, one.at = "k", int32(key%2), consumertest.Time
	one.lsn, one.txID = d.lsn, d.txID
	one.sequence = [2]uint64{d.lastCommit, d.lsn}
	if d.old {
		one.sequence, one.version = d.frozen, "1.6.4.Final"
	}
	d.sent = append(d.sent, one)
}

func rowOf(key, row int) string { return fmt.Sprintf(`{"id":%d,"v":%d}`, key, row) }

// TestOverlappingSnapshots makes logs of overlapping transactions with an incremental snapshot by
// signal table or read-only, of old and new connectors, with rows from before the log. However the
// logs are delivered, the documents end as the rows.
func TestOverlappingSnapshots(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{false, true} {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprintf("read-only %t, old %t", readOnly, old), func(t *testing.T) {
				t.Parallel()
				late, mid := 0, 0
				for seed := range uint64(60) {
					records, want, low := overlappingLog(seed, readOnly, old)
					late, mid = late+low, mid+len(records)
					printed, counts := sameHoweverDelivered(t, records, 2, ReplayOptions{})
					got := members(t, printed, "v")
					for key := range overlapKeys {
						value, there := want[key]
						text := fmt.Sprintf(`{"$numberLong":"%d"}`, value)
						if has := got[fmt.Sprint(key)]; there && has != text || !there &&
							has != "" {
							t.Fatalf("seed %d: row %d is %s, want %s (%t)\n%+v", seed, key, has,
								text, there, counts)
						}
					}
				}
				if late == 0 {
					t.Error("no change has a lower LSN than a row of the snapshot before")
				}
			})
		}
	}
}

// overlappingLog returns the records of a log, the rows in the end, and the number of changes below
// the LSN of a row of the snapshot that the same connector sent before.
func overlappingLog(seed uint64, readOnly, old bool) ([]*kgo.Record, map[int]int, int) {
	p := &postgres{random: rand.New(rand.NewPCG(seed, 16)), lsn: 1000, nextXid: 700,
		rows: map[int]int{}, locks: map[int]*transaction{}}
	for key := range overlapKeys { // rows from before the publication
		p.rows[key], p.value = key, overlapKeys
	}
	d := &connector{postgres: p, readOnly: readOnly, old: old, window: map[int]int{}, passes: 2,
		lsn: 1000, txID: 699, frozen: [2]uint64{0, 1000}}
	if p.random.IntN(2) == 0 { // a commit before the snapshot
		d.lastCommit, d.frozen = 990, [2]uint64{990, 990}
	}
	begin := p.random.IntN(20)
	for step := range 200 {
		if step == begin {
			d.running = true
			d.readChunk()
		}
		switch n := p.random.IntN(8); {
		case n < 4:
			p.act()
		case n == 4 && readOnly:
			d.readUntilNewTransaction() // a heartbeat
		default:
			d.receive()
		}
	}
	for len(p.open) > 0 {
		p.commit(p.open[0])
	}
	for range 1000 {
		if d.receive(); d.next == len(p.log) && !d.running {
			break
		}
		if d.next == len(p.log) {
			t := &transaction{xid: p.nextXid, rows: map[int]*int{}}
			p.nextXid++
			p.commit(t)
		}
	}
	low, top := 0, uint64(0)
	for _, one := range d.sent {
		if one.op == "r" {
			top = max(top, one.sequence[1])
		} else if one.op != "" && one.lsn < top {
			low++
		}
	}
	return d.sent.records(), p.rows, low
}
