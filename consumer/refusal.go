package consumer

import (
	"errors"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

const duplicateKey = 11000

// refusedDocument: MongoDB's error codes that are about the one document and stay true however
// often it is sent. Source: src/mongo/base/error_codes.yml; the high ones are of the update stage.
var refusedDocument = []int{
	2,     // BadValue
	14,    // TypeMismatch
	15,    // Overflow
	16,    // InvalidLength
	28,    // PathNotViable
	40,    // ConflictingUpdateOperators
	52,    // DollarPrefixedFieldName
	56,    // EmptyFieldName
	57,    // DottedFieldName
	121,   // DocumentValidationFailure
	171,   // CannotIndexParallelArrays
	10334, // BSONObjectTooLarge
	16755, // a geo index cannot take the value
	17280, // KeyTooLong
	17419, // the document would grow above 16 MiB
	17420, // the same, by an upsert
}

// halted: error codes that only a change of configuration cures.
var halted = []int{
	13,  // Unauthorized
	18,  // AuthenticationFailed
	20,  // IllegalOperation
	59,  // CommandNotFound
	73,  // InvalidNamespace
	166, // CommandNotSupportedOnView
}

// duplicateID tells a duplicate _id from one in another unique index.
func duplicateID(err error) bool {
	var w mongo.WriteError
	if !errors.As(err, &w) || w.Code != duplicateKey {
		return false
	}
	var said struct {
		KeyPattern bson.D `bson:"keyPattern"`
	}
	if bson.Unmarshal(w.Raw, &said) == nil && len(said.KeyPattern) > 0 {
		return len(said.KeyPattern) == 1 && said.KeyPattern[0].Key == "_id"
	}
	return strings.Contains(w.Message, "index: _id_")
}

// classifyMongo gives a server's or the driver's error the type that fateOf looks for. Whatever is
// in neither list, the network and elections first of all, stays as it is: later.
func classifyMongo(err error) error {
	var w mongo.WriteError
	if errors.As(err, &w) {
		switch {
		case w.Code == duplicateKey:
			return rejectf(ruleUnique, "%v", err)
		case slices.Contains(refusedDocument, w.Code):
			return rejectf(ruleDocument, "MongoDB refuses the document (%d): %v", w.Code, err)
		}
	}
	var server mongo.ServerError
	if errors.As(err, &server) && slices.ContainsFunc(halted, server.HasErrorCode) {
		return &haltError{err}
	}
	return err
}
