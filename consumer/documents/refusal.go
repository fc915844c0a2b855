package documents

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
)

const duplicateKey = 11000

// refusedDocument lists MongoDB's error codes about a single document, true however often the
// document is sent. Source: src/mongo/base/error_codes.yml; the high codes are of the update stage.
var refusedDocument = []int{
	2,     // BadValue
	9,     // FailedToParse
	14,    // TypeMismatch
	15,    // Overflow
	16,    // InvalidLength
	22,    // InvalidBSON
	28,    // PathNotViable
	29,    // NonExistentPath
	30,    // InvalidPath
	40,    // ConflictingUpdateOperators
	52,    // DollarPrefixedFieldName
	53,    // InvalidIdField
	54,    // NotSingleValueField
	55,    // InvalidDBRef
	56,    // EmptyFieldName
	57,    // DottedFieldName
	61,    // ShardKeyNotFound: the row lacks the column that MongoDB shards by
	66,    // ImmutableField: the same column changed
	111,   // NotExactValueField
	116,   // DocTooLargeForCapped
	121,   // DocumentValidationFailure
	171,   // CannotIndexParallelArrays
	201,   // CannotBuildIndexKeys
	241,   // ConversionFailure
	357,   // InvalidBSONType
	378,   // NonConformantBSON
	10003, // CannotGrowDocumentInCappedNamespace
	10334, // BSONObjectTooLarge
	16755, // a geo index cannot take the value
	17280, // KeyTooLong
	17419, // the document would grow above 16 MiB
	17420, // the same, by an upsert
}

// refusedBytes lists the error codes of a command that MongoDB cannot read. The statement is the
// cause, because the consumer makes all else of a command from names that MongoDB takes.
var refusedBytes = []int{
	15,    // Overflow: nested too deep
	16,    // InvalidLength
	22,    // InvalidBSON
	357,   // InvalidBSONType
	378,   // NonConformantBSON
	10334, // BSONObjectTooLarge
}

// refusedCollection lists error codes about a collection. The name of a table without a spec comes
// from a record, so that the record is refused; a spec's collection is a matter of configuration.
var refusedCollection = []int{
	13,  // Unauthorized
	73,  // InvalidNamespace
	166, // CommandNotSupportedOnView
}

// halted lists error codes of the client as a whole, curable only by a change of configuration. No
// record can cause these.
var halted = []int{
	11,  // UserNotFound
	18,  // AuthenticationFailed
	59,  // CommandNotFound
	101, // OutdatedClient
	115, // CommandNotSupported
	148, // ReadConcernMajorityNotEnabled
	322, // APIVersionError
	323, // APIStrictError
	334, // MechanismUnavailable
	352, // UnsupportedOpQueryCommand
}

// duplicateID returns true if a duplicate is of _id, false if in another unique index.
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

// classify gives a server's or the driver's error about a collection a type known to fate.Of. Every
// error in no list, the network and elections first of all, stays unchanged: later.
func (m *Mongo) classify(collection string, err error) error {
	if err == nil {
		return nil
	}
	return classifyMongo(err, m.isDeclared(collection))
}

// isDeclared is true for a collection of a spec, and for the consumer's own.
func (m *Mongo) isDeclared(collection string) bool {
	return collection == KeptCollection ||
		slices.ContainsFunc(m.registry.All(), func(s *entity.Spec) bool {
			return s.Collection == collection
		})
}

func classifyMongo(err error, declared bool) error {
	var w mongo.WriteError
	if errors.As(err, &w) {
		switch {
		case w.Code == duplicateKey:
			return fate.Rejectf(fate.RuleUnique, "%v", err)
		case slices.Contains(refusedDocument, w.Code):
			return fate.Rejectf(fate.RuleDocument,
				"MongoDB refuses the document (%d): %v", w.Code, err)
		}
	}
	if hasErrorCode(err, refusedCollection...) && !declared {
		return fate.Rejectf(fate.RuleNamespace, "MongoDB refuses the collection: %v", err)
	}
	if hasErrorCode(err, halted...) || hasErrorCode(err, refusedCollection...) {
		return &fate.Halt{Err: cutAnswer(err)}
	}
	return cutAnswer(err)
}

// answer is an error of MongoDB by its kind and code. The server's own words may quote the command,
// with values of rows: Words has the whole text.
type answer struct {
	err  error
	text string
}

func (a *answer) Error() string { return a.text }

func (a *answer) Unwrap() error { return a.err }

// Words returns the whole text of an error, with MongoDB's own words, for a log at debug level.
func Words(err error) string {
	var a *answer
	if errors.As(err, &a) {
		return a.err.Error()
	}
	return err.Error()
}

// cutAnswer cuts the server's words out of an error. The driver's own errors, about networks and
// timeouts, have no code and stay.
func cutAnswer(err error) error {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return err
	}
	codes := slices.DeleteFunc(server.ErrorCodes(), func(code int) bool { return code == 0 })
	if len(codes) == 0 {
		return err
	}
	short := fmt.Sprintf("MongoDB says code %d", codes[0])
	var command mongo.CommandError
	if errors.As(err, &command) && command.Name != "" {
		short = fmt.Sprintf("MongoDB says %s (%d)", command.Name, command.Code)
	}
	before, _, found := strings.Cut(err.Error(), server.Error())
	if !found {
		before = ""
	}
	return &answer{err, before + short}
}
