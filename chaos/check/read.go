package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/hop/pg"
)

// databases reads both sides: the rows first, in one snapshot, then the documents.
type databases struct {
	postgres *pgx.Conn
	client   *mongo.Client
	mongo    *mongo.Database
	layouts  []*layout
}

// connect connects to both databases.
func connect(ctx context.Context, c Config) (*databases, error) {
	settings, err := pg.ParseFixed(c.PostgresDSN)
	if err != nil {
		return nil, err
	}
	address, err := hop.Mongo(c.MongoURI)
	if err != nil {
		return nil, err
	}
	// The compared texts must not depend on the server's or the user's settings.
	settings.RuntimeParams["timezone"] = "UTC"
	settings.RuntimeParams["datestyle"] = "ISO"
	d := new(databases)
	for _, spec := range c.Registry.All() {
		d.layouts = append(d.layouts, newLayout(spec))
	}
	if d.postgres, err = pgx.ConnectConfig(ctx, settings); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	d.client, err = mongo.Connect(address.SetReadConcern(readconcern.Majority()).
		SetBSONOptions(&options.BSONOptions{DefaultDocumentM: true}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to MongoDB: %w", err), d.postgres.Close(ctx))
	}
	d.mongo = d.client.Database(c.Database)
	return d, nil
}

func (d *databases) close(ctx context.Context) error {
	return errors.Join(d.postgres.Close(ctx), d.client.Disconnect(ctx))
}

// readAll reads every row and every document, or only the ledger's keys. An item lives in an order
// that the ledger names as well, because the generator gives none of its rows to another's order.
func (d *databases) readAll(ctx context.Context, c Config, fates *fates) (tables, error) {
	ts := make(tables, len(d.layouts))
	for n, layout := range d.layouts {
		ts[n] = newComparison(layout)
		if !c.OnlyLedger {
			continue
		}
		ts[n].only = map[string]bool{}
		for key := range fates.byKey[layout.spec.Entity] {
			ts[n].only[key] = true
		}
	}
	return ts, d.read(ctx, ts, nil)
}

// readAgain reads the keys of the findings on both sides.
func (d *databases) readAgain(ctx context.Context, some []finding) (tables, error) {
	ts := make(tables, len(d.layouts))
	places := map[string][]string{}
	for n, layout := range d.layouts {
		ts[n] = newComparison(layout)
		ts[n].only = map[string]bool{}
		for _, f := range some {
			if f.Entity != layout.spec.Entity {
				continue
			}
			ts[n].only[f.Key] = true
			places[f.Entity] = append(places[f.Entity], f.places...)
		}
	}
	return ts, d.read(ctx, ts, places)
}

// read fills the tables. A table limited to some keys finds the items in the places, and in the
// documents named by the table's rows.
func (d *databases) read(ctx context.Context, ts tables, places map[string][]string) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, d.postgres, options, func(tx pgx.Tx) error {
		for _, t := range ts {
			if err := readRows(ctx, tx, t); err != nil {
				return fmt.Errorf("read %s: %w", t.spec.Table, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range ts {
		if t.spec.Embed != nil {
			continue
		}
		if err := d.readDocuments(ctx, t, ts.inside(t), places); err != nil {
			return fmt.Errorf("read collection %s: %w", t.spec.Collection, err)
		}
	}
	return nil
}

// readRows adds the rows of one table.
func readRows(ctx context.Context, tx pgx.Tx, t *comparison) error {
	columns := t.columns()
	query := selectTexts(t.spec, columns)
	var arguments []any
	if t.only != nil {
		if len(t.only) == 0 {
			return nil
		}
		query += fmt.Sprintf(" WHERE %s = ANY ($1::text[]::%s[])",
			quote(t.spec.Key), keyTypes[keyKind(t.spec)])
		arguments = append(arguments, keys(t.only))
	}
	rows, err := tx.Query(ctx, query, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	texts := make([]*string, len(columns))
	targets := make([]any, len(columns))
	for n := range texts {
		targets[n] = &texts[n]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		named := make(map[string]*string, len(columns))
		for n, column := range columns {
			named[column] = texts[n]
		}
		key, r, err := t.row(named)
		if err != nil {
			return err
		}
		t.addRow(key, r)
	}
	return rows.Err()
}

func selectTexts(spec *entity.Spec, columns []string) string {
	texts := make([]string, len(columns))
	for n, column := range columns {
		texts[n] = quote(column) + "::text"
	}
	return "SELECT " + strings.Join(texts, ", ") +
		" FROM " + pgx.Identifier(strings.Split(spec.Table, ".")).Sanitize()
}

func quote(column string) string { return pgx.Identifier{column}.Sanitize() }

// keyTypes are the casts of a list of keys, so that the primary key's index serves.
var keyTypes = map[entity.Kind]string{
	entity.UUID: "uuid", entity.Int: "bigint", entity.Text: "text",
}

func keyKind(spec *entity.Spec) entity.Kind {
	for _, f := range spec.Fields {
		if f.Column == spec.Key {
			return f.Kind
		}
	}
	return entity.Text
}

func keys(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for key := range set {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// readDocuments shows the documents of a collection to t, and the items in the documents to inside.
func (d *databases) readDocuments(ctx context.Context, t *comparison, inside tables,
	places map[string][]string) error {
	filter := bson.M{}
	if t.only != nil {
		wanted := keys(t.only)
		for _, items := range inside {
			wanted = append(wanted, places[items.spec.Entity]...)
			for _, r := range items.rows {
				wanted = append(wanted, r.parent)
			}
		}
		if len(wanted) == 0 {
			return nil
		}
		slices.Sort(wanted)
		filter["_id"] = bson.M{"$in": slices.Compact(wanted)}
	}
	cursor, err := d.mongo.Collection(t.spec.Collection).Find(ctx, filter)
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		var document bson.M
		if err := cursor.Decode(&document); err != nil {
			return err
		}
		seeDocument(t, inside, document)
	}
	return cursor.Err()
}

// seeDocument shows one document and the document's items.
func seeDocument(t *comparison, inside tables, document bson.M) {
	key, ok := document["_id"].(string)
	if !ok {
		key = fmt.Sprint(document["_id"])
	}
	own := t.sight(key, "", document)
	for _, items := range inside {
		field := items.spec.Embed.Field
		switch held := document[field].(type) {
		case nil:
		case bson.M:
			for item, value := range held {
				items.see(items.itemSight(item, key, value))
			}
		default:
			own.malformed = fmt.Sprintf("%s is a %T and no document", field, held)
		}
	}
	t.see(own)
}

// itemSight makes the record of one member of the map of items.
func (l *layout) itemSight(key, parent string, value any) sight {
	item, ok := value.(bson.M)
	if !ok {
		malformed := fmt.Sprintf("a %T and no document", value)
		return sight{key: key, record: record{parent: parent}, malformed: malformed}
	}
	return l.sight(key, parent, item)
}
