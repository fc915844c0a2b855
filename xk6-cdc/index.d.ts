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
 * Metrics, tagged with `scenario`, `entity` and `operation` (nothing is measured of scenarios named
 * `warmup`):
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
 * A run with `dropped_iterations` above 0 left writes out: give it more VUs and repeat it.
 */
declare module 'k6/x/cdc' {
  export type Entity = 'customer' | 'address' | 'order' | 'order_item';
  export type Operation = 'insert' | 'update' | 'delete';

  /** A length of time: "30s", "1m30s", or a number of milliseconds. */
  export type Duration = string | number;

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
     * File that appears when the first measured scenario starts; it holds that time in nanoseconds
     * since 1970. Default: CDC_STARTED, else none.
     */
    started?: string;
    /** Seed of every random choice. Default: CDC_SEED, else 1. Keys differ in every run. */
    seed?: number;
    /** Weights of the operations. Default: 70, 20, 10. One that is left out is 0. */
    mix?: { insert?: number; update?: number; delete?: number };
    /** Weights of the entities. Default: 40, 20, 20, 20. One that is left out is 0. */
    entities?: { customer?: number; address?: number; order?: number; order_item?: number };
    /** Connections to PostgreSQL, each executing one write at a time. Default: 16. */
    workers?: number;
    /** Rows that start() inserts before the load. Default: 200. */
    seedRows?: number;
    /**
     * How MongoDB is watched. "auto" is a change stream where the server has one, else polling; the
     * ledger's header says which it was. Default: "auto".
     */
    tracker?: 'auto' | 'changestream' | 'poll';
    /** A write that was not visible after this time counts as timed out. Default: "30s". */
    timeout?: Duration;
    /** How long one statement, and the wait for a connection before it, may take. Default: "5s". */
    statementTimeout?: Duration;
  }

  export interface Stats {
    /** Writes that wait for a worker, are with one, and the most that ever waited. */
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
     * starts when the schedule of the scenario intended it. What is left out is chosen by the weights;
     * the row always is. An update or a delete for which no row is free becomes an insert.
     *
     * @param entity the table
     * @param operation what to do
     * @param fields columns to set to these values; the others get random valid ones
     */
    write(entity?: Entity | null, operation?: Operation | null, fields?: Record<string, string | number | boolean | null>): void;

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
     * after another, and waits until each was seen. They go into the ledger as scenario "selftest".
     * Needs neither start() nor PostgreSQL; without start() it also closes the ledger.
     */
    selftest(options?: { writes: number }): Stats;
  }

  /**
   * Returns the lab. Call it at the top of the script. There is one lab in a k6 process, so every VU
   * must ask for it with the same options.
   */
  export function open(options?: Options): Lab;

  const cdc: { open: typeof open };
  export default cdc;
}
