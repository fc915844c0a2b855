package consumer

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// nullServer is a MongoDB that stores nothing: it answers as the primary of a replica set and
// acknowledges each command at once, so that what a client costs is all that is left to measure.
// Each write counts as one that found its document. Source of the wire format:
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
type nullServer struct {
	listener net.Listener
	hello    []byte
	open     sync.WaitGroup

	statements atomic.Int64 // updates, inserts and bulkWrite operations
	commands   atomic.Int64 // that carried them
	last       atomic.Int64 // when the last of them came, Unix nanoseconds
}

const (
	nullReply      = 1    // OP_REPLY
	nullQuery      = 2004 // OP_QUERY: a driver's first hello
	nullMessage    = 2013 // OP_MSG
	nullMoreToCome = 2    // flag: the client wants no answer
	nullChecksum   = 1    // flag: a CRC follows
)

func newNullServer(tb testing.TB) *nullServer {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &nullServer{listener: listener, hello: nullHello(listener.Addr().String())}
	s.open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	})
	tb.Cleanup(func() { listener.Close(); s.open.Wait() })
	return s
}

func (s *nullServer) uri() string {
	return "mongodb://" + s.listener.Addr().String() + "/?directConnection=true"
}

func nullHello(address string) []byte {
	return nullDocument(bson.D{{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true},
		{Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true},
		{Key: "setName", Value: "null"}, {Key: "setVersion", Value: int32(1)},
		{Key: "hosts", Value: bson.A{address}}, {Key: "me", Value: address},
		{Key: "primary", Value: address}, {Key: "maxBsonObjectSize", Value: int32(16 << 20)},
		{Key: "maxMessageSizeBytes", Value: int32(48_000_000)},
		{Key: "maxWriteBatchSize", Value: int32(100_000)},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "readOnly", Value: false},
		{Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(25)}})
}

func nullDocument(d bson.D) []byte {
	raw, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return raw
}

func (s *nullServer) serve(conn net.Conn) {
	defer conn.Close()
	var in, out []byte
	for {
		var head [16]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		size := int(binary.LittleEndian.Uint32(head[:])) - len(head)
		if size < 5 || size > 48_000_000 {
			return
		}
		if cap(in) < size {
			in = make([]byte, size)
		}
		if _, err := io.ReadFull(conn, in[:size]); err != nil {
			return
		}
		out = append(out[:0], make([]byte, len(head))...)
		switch code := binary.LittleEndian.Uint32(head[12:]); code {
		case nullQuery: // flags, cursor (8 bytes), first, count, one document
			out = append(out, make([]byte, 20)...)
			out[len(out)-4] = 1
			out = append(out, s.hello...)
			binary.LittleEndian.PutUint32(out[12:], nullReply)
		case nullMessage: // flags, then a section of kind 0
			out = append(out, 0, 0, 0, 0, 0)
			out = s.answer(out, in[:size])
			binary.LittleEndian.PutUint32(out[12:], nullMessage)
		default:
			return
		}
		if in[0]&nullMoreToCome != 0 && head[12] == nullMessage&0xff {
			continue
		}
		binary.LittleEndian.PutUint32(out, uint32(len(out)))
		copy(out[8:12], head[4:8])
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer appends the answer to a message: its flags and sections.
func (s *nullServer) answer(out, message []byte) []byte {
	sections := message[4:]
	if message[0]&nullChecksum != 0 {
		sections = sections[:len(sections)-4]
	}
	var body bson.Raw
	listed := 0 // documents in sequences beside the body
	for len(sections) > 5 {
		kind, size := sections[0], int(binary.LittleEndian.Uint32(sections[1:]))
		section := sections[1 : 1+size]
		sections = sections[1+size:]
		if kind == 0 {
			body = section
			continue
		}
		name := section[4:]
		for name[0] != 0 {
			name = name[1:]
		}
		if section[4] != 'n' { // nsInfo of a bulkWrite lists no statements
			listed += countDocuments(name[1:])
		}
	}
	first, err := body.IndexErr(0)
	if err != nil {
		return out
	}
	switch command := first.Key(); command {
	case "hello", "isMaster", "ismaster":
		return append(out, s.hello...)
	case "update", "insert", "bulkWrite":
		return append(out, s.written(body, command, listed)...)
	case "find", "aggregate", "listCollections", "listIndexes":
		return append(out, nullCursor...)
	}
	return append(out, nullOK...)
}

var (
	nullOK     = nullDocument(bson.D{{Key: "ok", Value: 1.0}})
	nullCursor = nullDocument(bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{
		{Key: "id", Value: int64(0)}, {Key: "ns", Value: "null.null"},
		{Key: "firstBatch", Value: bson.A{}}}}})
)

func (s *nullServer) written(body bson.Raw, command string, listed int) []byte {
	lists := map[string]string{"update": "updates", "insert": "documents", "bulkWrite": "ops"}
	if list, is := body.Lookup(lists[command]).ArrayOK(); is {
		listed += countElements(list)
	}
	s.statements.Add(int64(listed))
	s.commands.Add(1)
	s.last.Store(time.Now().UnixNano())
	n := int32(listed)
	if command == "bulkWrite" {
		return nullDocument(bson.D{{Key: "ok", Value: 1.0}, {Key: "nErrors", Value: int32(0)},
			{Key: "nInserted", Value: int32(0)}, {Key: "nUpserted", Value: int32(0)},
			{Key: "nMatched", Value: n}, {Key: "nModified", Value: n}, {Key: "nDeleted", Value: int32(0)},
			{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)},
				{Key: "ns", Value: "admin.$cmd.bulkWrite"}, {Key: "firstBatch", Value: bson.A{}}}}})
	}
	return nullDocument(bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: n},
		{Key: "nModified", Value: n}})
}

// countDocuments of a sequence: each begins with its own length.
func countDocuments(rest []byte) (n int) {
	for ; len(rest) >= 5; n++ {
		rest = rest[binary.LittleEndian.Uint32(rest):]
	}
	return n
}

// countElements of an array of documents: a type, the index as text, a document.
func countElements(array []byte) (n int) {
	for rest := array[4:]; len(rest) > 1; n++ {
		for rest[0] != 0 {
			rest = rest[1:]
		}
		rest = rest[1:]
		rest = rest[binary.LittleEndian.Uint32(rest):]
	}
	return n
}

// TestNullServer: the driver takes it for a server, whichever way it sends its writes.
func TestNullServer(t *testing.T) {
	t.Parallel()
	s := newNullServer(t)
	client, err := mongo.Connect(options.Client().ApplyURI(s.uri()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	ctx, collection := t.Context(), client.Database("d").Collection("c")
	change := func(id string) bson.D {
		return bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: id}}},
			{Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}}}
	}
	var answer struct{ N, NModified int }
	if err := client.Database("d").RunCommand(ctx, bson.D{{Key: "update", Value: "c"},
		{Key: "updates", Value: bson.A{change("a"), change("b")}}}).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.N != 2 || answer.NModified != 2 {
		t.Errorf("update answered %+v, want 2 and 2", answer)
	}
	models := []mongo.WriteModel{mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: "c"}}).
		SetUpsert(true).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}),
		mongo.NewInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: "d"}})}
	result, err := collection.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if err != nil || result.MatchedCount != 1 || result.InsertedCount != 1 {
		t.Errorf("BulkWrite: %+v, %v; want 1 matched and 1 inserted", result, err)
	}
	writes := []mongo.ClientBulkWrite{{Database: "d", Collection: "c",
		Model: mongo.NewClientUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: "e"}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}})}}
	if _, err := client.BulkWrite(ctx, writes); err != nil {
		t.Errorf("client BulkWrite: %v", err)
	}
	if err := collection.FindOne(ctx, bson.D{}).Err(); err != mongo.ErrNoDocuments {
		t.Errorf("FindOne: %v, want none", err)
	}
	index := mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}}}
	if _, err := collection.Indexes().CreateOne(ctx, index); err != nil {
		t.Errorf("create an index: %v", err)
	}
	if got := s.statements.Load(); got != 5 {
		t.Errorf("%d statements counted, want 5", got)
	}
}
