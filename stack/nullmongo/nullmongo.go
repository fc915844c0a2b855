// Package nullmongo is a MongoDB that stores nothing: the server acknowledges each write at once
// and counts the write, so that only the cost of a client is left to measure. The server is no
// stand-in for MongoDB: every read is empty. Start reading at Start.
package nullmongo

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Server answers as the primary of a replica set. Each write counts as if its document was found.
// Source of the wire format: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
type Server struct {
	listener net.Listener
	hello    []byte
	open     sync.WaitGroup

	statements  atomic.Int64
	commands    atomic.Int64
	first, last atomic.Int64 // Unix nanoseconds
	watch       atomic.Pointer[func(collection string, statements int)]
}

// Counts are the writes acknowledged by a Server.
type Counts struct {
	// Statements are updates, inserts, deletes and operations of bulkWrite; Commands are the
	// commands around Statements.
	Statements, Commands int64
	// First and Last are when the first and the last command came; the zero time before any.
	First, Last time.Time
}

const (
	opReply        = 1    // OP_REPLY
	opQuery        = 2004 // OP_QUERY: a driver's first hello
	opMessage      = 2013 // OP_MSG
	flagMoreToCome = 2    // flag: the client wants no answer
	flagChecksum   = 1    // flag: a CRC follows
)

// Start listens at a free port of this machine; Close ends the Server.
func Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the null MongoDB: %w", err)
	}
	s := &Server{listener: listener, hello: hello(listener.Addr().String())}
	s.open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	})
	return s, nil
}

// Close takes no more connections; open connections end with the clients.
func (s *Server) Close() {
	s.listener.Close()
	s.open.Wait()
}

// URI is the address for clients.
func (s *Server) URI() string {
	return "mongodb://" + s.listener.Addr().String() + "/?directConnection=true"
}

// Counts are the counts up to now.
func (s *Server) Counts() Counts {
	c := Counts{Statements: s.statements.Load(), Commands: s.commands.Load()}
	if c.Commands > 0 {
		c.First, c.Last = time.Unix(0, s.first.Load()), time.Unix(0, s.last.Load())
	}
	return c
}

// Watch has the function called for each command of writes from now on, before its answer.
func (s *Server) Watch(each func(collection string, statements int)) { s.watch.Store(&each) }

func hello(address string) []byte {
	return document(bson.D{{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true},
		{Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true},
		{Key: "setName", Value: "null"}, {Key: "setVersion", Value: int32(1)},
		{Key: "hosts", Value: bson.A{address}}, {Key: "me", Value: address},
		{Key: "primary", Value: address}, {Key: "maxBsonObjectSize", Value: int32(16 << 20)},
		{Key: "maxMessageSizeBytes", Value: int32(48_000_000)},
		{Key: "maxWriteBatchSize", Value: int32(100_000)},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "readOnly", Value: false},
		{Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(25)}})
}

func document(d bson.D) []byte {
	raw, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return raw
}

func (s *Server) serve(conn net.Conn) {
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
		case opQuery: // flags, cursor (8 bytes), first, count, a document
			out = append(out, make([]byte, 20)...)
			out[len(out)-4] = 1
			out = append(out, s.hello...)
			binary.LittleEndian.PutUint32(out[12:], opReply)
		case opMessage: // flags, then a section of kind 0
			out = append(out, 0, 0, 0, 0, 0)
			out = s.answer(out, in[:size])
			binary.LittleEndian.PutUint32(out[12:], opMessage)
		default:
			return
		}
		if in[0]&flagMoreToCome != 0 && head[12] == opMessage&0xff {
			continue
		}
		binary.LittleEndian.PutUint32(out, uint32(len(out)))
		copy(out[8:12], head[4:8])
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer appends the answer to a message: flags and sections.
func (s *Server) answer(out, message []byte) []byte {
	sections := message[4:]
	if message[0]&flagChecksum != 0 {
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
	case "update", "insert", "delete", "bulkWrite":
		return append(out, s.written(body, command, listed)...)
	case "find", "aggregate", "listCollections", "listIndexes":
		return append(out, emptyCursor...)
	}
	return append(out, plainOK...)
}

var (
	plainOK     = document(bson.D{{Key: "ok", Value: 1.0}})
	emptyCursor = document(bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{
		{Key: "id", Value: int64(0)}, {Key: "ns", Value: "null.null"},
		{Key: "firstBatch", Value: bson.A{}}}}})
)

func (s *Server) written(body bson.Raw, command string, listed int) []byte {
	lists := map[string]string{"update": "updates", "insert": "documents", "delete": "deletes",
		"bulkWrite": "ops"}
	if list, is := body.Lookup(lists[command]).ArrayOK(); is {
		listed += countElements(list)
	}
	now := time.Now().UnixNano()
	s.first.CompareAndSwap(0, now)
	s.last.Store(now)
	s.statements.Add(int64(listed))
	s.commands.Add(1)
	if each := s.watch.Load(); each != nil {
		name, _ := body.Lookup(command).StringValueOK() // a bulkWrite has no single collection
		(*each)(name, listed)
	}
	n := int32(listed)
	if command == "bulkWrite" {
		return document(bson.D{{Key: "ok", Value: 1.0}, {Key: "nErrors", Value: int32(0)},
			{Key: "nInserted", Value: int32(0)}, {Key: "nUpserted", Value: int32(0)},
			{Key: "nMatched", Value: n}, {Key: "nModified", Value: n},
			{Key: "nDeleted", Value: int32(0)},
			{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)},
				{Key: "ns", Value: "admin.$cmd.bulkWrite"}, {Key: "firstBatch", Value: bson.A{}}}}})
	}
	return document(bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: n},
		{Key: "nModified", Value: n}})
}

// countDocuments counts the documents of a sequence: each begins with its own length.
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
