package consumer

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// drift adds those values of a new type of which the row has one of that type already, or none: the
// other rows are older than the change of type, and keep what they have.
func (s *settler) drift(ctx context.Context, d *draft) error {
	found, err := s.store.find(ctx, d.table.Spec().Collection, []string{d.key})
	if err != nil {
		return fmt.Errorf("look for the row whose column has another type: %w", err)
	}
	for _, one := range d.drifted {
		stored, err := found[d.key].LookupErr(one.Member)
		if err == nil && stored.Type != bson.TypeNull && !sameType(stored, one.Elements) {
			continue
		}
		d.members = append(slices.Clip(d.members), one.Elements...)
		d.absent = append(slices.Clip(d.absent), one.Absent...)
	}
	d.drifted = nil
	return nil
}

// sameType compares with the first of the elements; of arrays, their first items.
func sameType(stored bson.RawValue, elements []byte) bool {
	element, _, ok := bsoncore.ReadElement(elements)
	if !ok || element[0] != byte(stored.Type) {
		return false
	}
	if stored.Type != bson.TypeArray {
		return true
	}
	item, err := bson.Raw(stored.Array()).IndexErr(0)
	other, otherErr := element.Value().Array().IndexErr(0)
	return err != nil || otherErr != nil || item.Value().Type == bson.Type(other.Type)
}
