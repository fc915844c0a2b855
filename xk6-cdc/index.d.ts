/**
 * k6/x/cdc writes into PostgreSQL on k6's schedule and measures how long each write takes to become
 * visible in MongoDB, through whatever pipeline lies between.
 *
 * ```js
 * import cdc from 'k6/x/cdc';
 *
 * export const options = {
 *   scenarios: {
 *     load: { executor: 'constant-arrival-rate', rate: 100, duration: '5m', preAllocatedVUs: 50 },
 *   },
 *   thresholds: { cdc_e2e_latency_ms: ['p(95)<2000'], cdc_e2e_success_rate: ['rate>0.999'] },
 *   teardownTimeout: '2m',
 * };
 *
 * const lab = cdc.open({ postgres: __ENV.PG, mongo: __ENV.MONGO });
 *
 * export function setup() { lab.start(); }
 * export default function () { lab.write(); }
 * export function teardown() { lab.drain('60s'); }
 * ```
 *
 * Metrics, tagged with `scenario`, `entity` and `operation`, and with the tags that the VU has when it calls
 * write(), such as the group's (nothing is measured of scenarios named `warmup`, `seed` or `selftest`):
 *
 * | metric | type | what |
 * |---|---|---|
 * | `cdc_e2e_latency_ms` | trend | the time the schedule intended -> visible in MongoDB |
 * | `cdc_e2e_success_rate` | rate | writes that were visible within the timeout |
 * | `cdc_e2e_timeout_rate` | rate | acknowledged writes that were not |
 * | `cdc_schedule_delay_ms` | trend | intended -> a worker began |
 * | `cdc_commit_ms`, `db_query_duration` | trend | a worker began -> PostgreSQL acknowledged the commit |
 * | `cdc_pipeline_ms` | trend | commit acknowledged -> visible in MongoDB |
 * | `cdc_writes` | counter | writes, also tagged with their `fate`: acked, failed, indeterminate |
 *
 * A run with `dropped_iterations` above 0 left writes out: give it more VUs and repeat it. k6 takes a
 * threshold of what has no samples for kept, so a script that writes nothing would pass: add
 * `cdc_writes: ['count>0']`.
 */
declare module 'k6/x/cdc' {
  export type Entity = 'customer' | 'address' | 'order' | 'order_item';
  export type Operation = 'insert' | 'update' | 'delete';

  /** A length of time: "30s", "1m30s", or a number of milliseconds. */
  export type Duration = string | number;

  /**
   * Each option can also be given by the environment: those that name a variable by that, the others as
   * a member of the JSON object in CDC_OPTIONS. What the script gives comes first.
   */
  export interface Options {
    /** Connection string of the source. Default: CDC_POSTGRES_DSN, else postgres@127.0.0.1:5432/postgres. */
    postgres?: string;
    /** Connection string of the target. Default: CDC_MONGO_URI, else mongodb://127.0.0.1:27017. */
    mongo?: string;
    /** The database that the pipeline writes to. Default: CDC_MONGO_DATABASE, else "cdc". */
    database?: string;
    /** File for the ledger: JSON lines, one for each write. Default: CDC_LEDGER, else none. */
    ledger?: string;
    /**
     * File that appears at the first write of a measured scenario: a JSON object with the scenario's
     * start, `unixNs` nanoseconds since 1970, `ageNs` before the file was written.
     * Default: CDC_STARTED, else none.
     */
    started?: string;
    /**
     * File that is replaced once a second from the end of start() on: how many writes wait, are outstanding,
     * were acked and seen, and the p95 so far, as JSON. Default: CDC_STATUS, else none.
     */
    status?: string;
    /** Seed of every random choice. Default: CDC_SEED, else 1. Keys differ in every run. */
    seed?: number;
    /** Weights of the operations. Default: 70, 20, 10. One that is left out is 0. */
    mix?: { insert?: number; update?: number; delete?: number };
    /** Weights of the entities. Default: 40, 20, 20, 20. One that is left out is 0. */
    entities?: { customer?: number; address?: number; order?: number; order_item?: number };
    /** Connections to PostgreSQL, each executing one write at a time, or one batch. Default: 16. */
    workers?: number;
    /**
     * How many writes that wait for a connection may be sent on it in one round trip, 1 to 1000. Each stays
     * a transaction of its own with its own fate and times. No write waits for others to come, and none is
     * put behind another while a connection is free: it matters only where the load is more than the
     * connections can do. Writes of lab.transaction() are in no batch. Default: 1.
     */
    batch?: number;
    /** Rows that start() inserts before the load; segments share them. Default: 200. */
    seedRows?: number;
    /**
     * Bytes of free text in a row of address (street) and order_item (product_name); customer and order
     * have none. Default: 0, a few words.
     */
    rowBytes?: number;
    /**
     * Share, 0 to 1, of the new rows of address and order_item whose free text is so large (4 KiB, or
     * rowBytes if that is more) that PostgreSQL stores it out of line. 9 in 10 updates of such a row
     * leave the text alone, so that it is not in the log. Default: 0.
     */
    toastShare?: number;
    /**
     * Share, 0 to 1, of the new rows that come under the key of a row of the same table that was deleted,
     * as soon as MongoDB shows the delete. A pipeline must not take what is left of the first row for the
     * second. Default: 0.
     */
    reuseShare?: number;
    /**
     * Which row an update gets: "uniform", or "zipf" for a few popular ones. A row never has two writes
     * at once; the next one in popularity gets the second. Default: "uniform".
     */
    choice?: 'uniform' | 'zipf';
    /** The exponent of "zipf", above 1: the larger, the more popular the first rows. Default: 1.1. */
    zipf?: number;
    /**
     * How MongoDB is watched. "auto" is a change stream where the server has one, else polling; the
     * ledger's header says which it was. Default: "auto".
     */
    tracker?: 'auto' | 'changestream' | 'poll';
    /**
     * Share, above 0 to 1, of MongoDB's operations that the tracker's own are to stay under. A poll looks
     * less often where it must, at least 4 times a second; a change stream reads with each change and
     * holds nothing back. stats() and the ledger's end say what it came to, and a run that is above is
     * warned of. 1 is no limit. Default: 0.1 for a poll, 0.6 for a change stream.
     */
    trackerBudget?: number;
    /**
     * Share, 0 to 1, of the writes that are tracked; which ones follows from their IDs. The others are
     * in no metric of visibility, and "untracked" in the ledger. The seed rows, and deletes of rows
     * that are waited for, are tracked always. Default: 1.
     */
    sample?: number;
    /**
     * Share, 0 to 1, of the writes whose times become samples of k6's trends; which ones follows from their
     * IDs. k6 keeps each sample of a trend in memory until the end, so a long test sets less than 1:
     * percentiles and thresholds are then those of the share, and k6's own iteration_duration is a gauge,
     * on which there can be no threshold. Counts and rates, and the ledger, have every write. Default: 1.
     */
    trends?: number;
    /**
     * Share, 0 to 1, of the writes with a trace context; which ones follows from their IDs. k6's log has a line
     * with the `trace_id` of each. The context is a transactional logical message of the prefix `traceparent`
     * in front of the row, which costs the write two more round trips; the lab's own connector makes the
     * message a header of the row's record, and the consumer's spans and log lines are in that trace. Writes of
     * lab.transaction(), and writes sent together (`batch`), have none. Default: 0.
     */
    trace?: number;
    /** A write that was not visible after this time counts as timed out. Default: "30s". */
    timeout?: Duration;
    /** How long one statement, and the wait for a connection before it, may take. Default: "5s". */
    statementTimeout?: Duration;
    /**
     * Abort the test when PostgreSQL has given no connection for this long (and, whatever is set here,
     * when the ledger cannot be written). Default: "1m".
     */
    abortAfter?: Duration;
  }

  /** One write of a transaction; what is left out is chosen as for write(). */
  export interface PlannedWrite {
    entity?: Entity | null;
    op?: Operation | null;
    fields?: Fields | null;
  }

  /** Columns and the values to set them to; the others get random valid ones. */
  export type Fields = Record<string, string | number | boolean | null>;

  export interface Stats {
    /** Requests (a write, or a transaction) that wait for a worker, are with one, and the most that ever waited. */
    queued: number;
    executing: number;
    queueMax: number;
    /** Writes by their fate in PostgreSQL. */
    acked: number;
    failed: number;
    indeterminate: number;
    /** Writes that were seen; how many of them only in a later version of the row. */
    visible: number;
    superseded: number;
    /** Acknowledged writes that were not seen yet. */
    outstanding: number;
    /** Acknowledged writes that were not seen within the timeout; they may be seen later. */
    timedOut: number;
    /** Writes that became an insert because no row was free for what was asked. */
    substituted: number;
    /** How often the watching broke; what was written then is seen too late. */
    trackerErrors: number;
    /** Change events that showed an older state of a row than an event before; 0 for a poll. */
    wentBack: number;
    /** Share of the writes that was to be tracked, and of those acknowledged so far that is. */
    sampleAsked: number;
    sampleKept: number;
    /**
     * Commands that the tracker sent to MongoDB, and all that MongoDB did meanwhile: its own count, or
     * where it has none, the tracker's and one for each acknowledged write.
     */
    trackerOperations: number;
    serverOperations: number;
    /** The budget, and the share of MongoDB's operations that the tracker's were. */
    budgetAsked: number;
    budgetKept: number;
    /** Milliseconds between two looks of a poll; 0 with a change stream. */
    lookMedianMs: number;
    lookMaxMs: number;
    /** Rows of each entity that are live and that no write is outstanding on. */
    rows: Record<Entity, number>;
  }

  export interface Lab {
    /**
     * Connects to both ends, begins to watch MongoDB, inserts the seed rows and waits until they are
     * visible. Call it in setup(). Throws where an end cannot be reached, a table is missing, or no
     * seed row comes through the pipeline within the timeout.
     */
    start(): void;

    /**
     * Asks for one write and returns at once: a worker executes it when its turn comes. Its latency
     * starts when the schedule of the scenario intended the iteration, so what the script does before, such
     * as sleep(), counts; where the executor has no schedule (all but the two of arrival rates), it starts
     * now. What is left out is chosen by the weights; the row always is. An update or a delete for which no
     * row is free becomes an insert. A write that PostgreSQL refuses throws nothing: it is counted in
     * `cdc_writes` as failed, its reason is in the ledger, and k6 logs the first one of each kind.
     *
     * @param entity the table
     * @param operation what to do
     * @param fields columns to set to these values; the others get random valid ones
     */
    write(entity?: Entity | null, operation?: Operation | null, fields?: Fields | null): void;

    /**
     * Asks for several writes in one transaction of PostgreSQL, and returns at once. They have one
     * intended time, and each its own ID and line in the ledger; all are committed, or none. A new row
     * belongs to the row above it that the same transaction inserts, where there is one:
     *
     *     lab.transaction([
     *       { entity: 'order', op: 'insert' },
     *       { entity: 'order_item', op: 'insert' }, // of that order
     *     ]);
     *
     * @param writes 1 to 1000 writes, executed in this order
     */
    transaction(writes: PlannedWrite[]): void;

    /**
     * Sets the weights of the operations from now on: in an iteration for its scenario alone, in setup()
     * for all scenarios that have not set their own.
     *
     * @param weights one that is left out is 0
     */
    mix(weights: { insert?: number; update?: number; delete?: number }): void;

    /**
     * Writes a labelled moment into the ledger; does nothing where there is none. Call it between
     * start() and drain().
     *
     * @param label 1 to 200 bytes
     */
    mark(label: string): void;

    /**
     * Takes no more writes, waits until all were executed and seen, and closes the ledger. Call it in
     * teardown(), with a teardownTimeout above the limit.
     *
     * @param limit how long to wait at most; default "60s"
     */
    drain(limit?: Duration): Stats;

    /** How things stand. */
    stats(): Stats;

    /**
     * Measures the floor: writes documents to MongoDB directly, into the collection lab_selftest, one
     * after another, and waits until each was seen; with a rate, that many a second, whether the ones
     * before were seen or not, from the time at which each was due. They go into the ledger as scenario
     * "selftest". Needs neither start() nor PostgreSQL; without start() it also closes the ledger.
     *
     * @param options default 500 writes without a rate
     */
    selftest(options?: { writes?: number; rate?: number }): Stats;

    /**
     * Asks MongoDB, once, whether it shows a row, and waits for the answer. It is there for
     * spec-poll.js alone, which measures what polling by script costs: write() tracks by itself. Needs
     * no start(). An order_item has no document of its own, so it cannot be asked for.
     *
     * @param entity the table
     * @param id the primary key
     * @param version the least lab_version that counts; default 0, any
     */
    has(entity: 'customer' | 'address' | 'order', id: string, version?: number): boolean;

    /**
     * Begins the ledger of a script that writes, and looks for its rows, by itself, such as
     * spec-poll.js. Call it in setup() instead of start(), and drain() in teardown().
     *
     * @param every the time between two looks of the script: the resolution of its latencies
     */
    startOwn(every: Duration): void;

    /** A primary key that belongs to this run, and a lab_version, for a row of the script's own. */
    newRow(): { id: string; version: number };

    /**
     * Puts a write of the script's own into the ledger. The times are Date.now()'s: when the write
     * began, when PostgreSQL acknowledged it (left out: it is not known whether it did), and when the
     * document was there (left out: it was not seen in time).
     */
    wrote(write: {
      entity: Entity; op: Operation; id: string; version: number;
      started: number; committed?: number; seen?: number; error?: string;
    }): void;
  }

  /**
   * Returns the lab. Call it at the top of the script. There is one lab in a k6 process, so every VU
   * must ask for it with the same options.
   */
  export function open(options?: Options): Lab;

  const cdc: { open: typeof open };
  export default cdc;
}
