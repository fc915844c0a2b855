// Package naming keeps the names of documents' members in the store, so that a member has one
// column for all processes and for ever: firstName of first_name is never a column firstName's.
// Package encode gives the names. Start reading at Settle.
package naming

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/encode/names"
)

// Settle compares the names given by the table with the store's log of names, takes the log's where
// both differ, and appends new names. An entry of the log is a document, never changed; of two
// processes that append at once, the first to come has the number, and the other reads the entry
// and goes on behind. The error is the store's.
func Settle(ctx context.Context, s documents.Store, t *encode.Table) error {
	for t.HasUnkeptNames() {
		all, entries := t.UnkeptNames()
		taken, err := takeEntry(ctx, s, t, entries)
		if err != nil {
			return err
		}
		if taken {
			continue
		}
		entry := documents.AsDocument(entryOf(entryID(t, entries), all))
		if err := s.Keep(ctx, entry); err != nil {
			return fmt.Errorf("keep the names of members: %w", err)
		}
		if taken, err = takeEntry(ctx, s, t, entries); err != nil {
			return err
		}
		if !taken { // a store that only acknowledges
			t.TakeNames(all)
		}
	}
	return nil
}

func entryID(t *encode.Table, number int) string {
	return fmt.Sprintf("names/%s/%s/%d", t.Spec().Collection, t.Spec().Table, number)
}

// takeEntry gives the table an entry of the log; false where the log ends before.
func takeEntry(ctx context.Context, s documents.Store, t *encode.Table, number int) (bool, error) {
	id := entryID(t, number)
	found, err := s.Find(ctx, documents.KeptCollection, []string{id})
	if err != nil {
		return false, fmt.Errorf("look for the names of members: %w", err)
	}
	entry, there := found[id]
	if !there {
		return false, nil
	}
	members, isMembers := entry.Lookup("members").ArrayOK()
	named, isColumns := entry.Lookup("columns").ArrayOK()
	if !isMembers || !isColumns {
		return false, fmt.Errorf("%s %s: want members and columns", documents.KeptCollection, id)
	}
	var all []names.Entry
	for i := uint(0); ; i++ {
		member, err := bson.Raw(members).IndexErr(i)
		column, columnErr := bson.Raw(named).IndexErr(i)
		if err != nil || columnErr != nil {
			break
		}
		one := names.Entry{}
		one.Member, _ = member.Value().StringValueOK()
		one.Column, _ = column.Value().StringValueOK()
		all = append(all, one)
	}
	t.TakeNames(all)
	return true, nil
}

// entryOf returns an entry's elements.
func entryOf(id string, all []names.Entry) []byte {
	members, named := bsoncore.NewArrayBuilder(), bsoncore.NewArrayBuilder()
	for _, one := range all {
		members.AppendString(one.Member)
		named.AppendString(one.Column)
	}
	elements := bsoncore.AppendStringElement(nil, "_id", id)
	elements = bsoncore.AppendArrayElement(elements, "members", members.Build())
	return bsoncore.AppendArrayElement(elements, "columns", named.Build())
}
