package peer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/hop/pg"
)

const (
	loadTable = "peer_load"
	// eventsOfBatch is how many statements of the load one transaction holds.
	eventsOfBatch = 200
)

// mix draws the history of a table: of each 20 events 5 inserts, 12 updates and 3 deletes in a
// random order, on random rows. The same seed draws the same.
type mix struct {
	random *rand.Rand
	deck   []byte
	live   []int64 // existing rows
	made   int64   // rows ever made
}

func newMix(seed int64) *mix {
	return &mix{random: rand.New(rand.NewPCG(uint64(seed), 1))}
}

// next returns 'c', 'u' or 'd', and the row's number. Until there is a row, every other draw is put
// off.
func (m *mix) next() (op byte, row int64) {
	if len(m.deck) == 0 {
		m.deck = []byte("cccccuuuuuuuuuuuuddd")
		m.random.Shuffle(len(m.deck), func(i, j int) {
			m.deck[i], m.deck[j] = m.deck[j], m.deck[i]
		})
	}
	if len(m.live) == 0 {
		at := strings.IndexByte(string(m.deck), 'c')
		if at < 0 { // all rows are gone and no insert is left in the deck
			m.deck = append(m.deck, "cccccuuuuuuuuuuuuddd"...)
			at = strings.IndexByte(string(m.deck), 'c')
		}
		m.deck[0], m.deck[at] = m.deck[at], m.deck[0]
	}
	op, m.deck = m.deck[0], m.deck[1:]
	if op == 'c' {
		m.made++
		m.live = append(m.live, m.made)
		return op, m.made
	}
	at := m.random.IntN(len(m.live))
	row = m.live[at]
	if op == 'd' {
		m.live[at] = m.live[len(m.live)-1]
		m.live = m.live[:len(m.live)-1]
	}
	return op, row
}

const loadSchema = `CREATE TABLE public.` + loadTable + ` (
	id uuid PRIMARY KEY, customer_id uuid NOT NULL, status text NOT NULL,
	total_amount numeric(12, 2) NOT NULL,
	created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
	note text, lab_version bigint)`

const words = "Please leave it with the neighbour at number 4 if nobody answers the door. " +
	"The parcel " +
	"is fragile and must stay upright at all times, thank you. "

func rowID(row int64) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", row) }

// writeLoad writes so many events into PostgreSQL and returns how many records Debezium makes of
// the events: one each, and a tombstone after each delete.
func writeLoad(ctx context.Context, dsn string, seed int64, events int) (records int64, err error) {
	conn, err := pg.Connect(ctx, dsn)
	if err != nil {
		return 0, fmt.Errorf("write the load: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, loadSchema); err != nil {
		return 0, fmt.Errorf("write the load: %w", err)
	}
	mix := newMix(seed)
	for done := 0; done < events; done += eventsOfBatch {
		var batch pgx.Batch
		for n := done; n < min(events, done+eventsOfBatch); n++ {
			op, row := mix.next()
			records++
			if op == 'd' {
				records++
			}
			queueEvent(&batch, op, row, int64(n))
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			return tx.SendBatch(ctx, &batch).Close()
		})
		if err != nil {
			return 0, fmt.Errorf("write the load: after %d events: %w", done, err)
		}
	}
	return records, nil
}

func queueEvent(batch *pgx.Batch, op byte, row, version int64) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).
		Add(time.Duration(version) * 7919 * time.Microsecond)
	status := [...]string{"new", "paid", "shipped", "delivered"}[version%4]
	switch op {
	case 'c':
		from := int(row) % len(words)
		note := strings.Repeat(words, 2)[from : from+len(words)]
		batch.Queue(`INSERT INTO public.`+loadTable+`
			VALUES ($1, $2, $3, $4::bigint / 100.0, $5, $5, $6, $7)`,
			rowID(row),
			rowID(row/8+1<<40), status, row%900_000+10_000, at, note, version)
	case 'u':
		batch.Queue(`UPDATE public.`+loadTable+`
				SET status = $2, updated_at = $3, lab_version = $4 WHERE id = $1`,
			rowID(row), status, at, version)
	case 'd':
		batch.Queue(`DELETE FROM public.`+loadTable+` WHERE id = $1`, rowID(row))
	}
}
