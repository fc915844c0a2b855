// What the load scenarios share: their knobs, all from the environment, and their thresholds.
//
//   RATE      writes per second            MIX      insert/update/delete in per cent, "70/20/10"
//   DURATION  of the measured load         SEED     of every random choice
//   WARMUP    of the load before it, of which nothing is measured; "0s" for none
//   DRAIN     the longest wait for outstanding writes after the load, "60s"
//
// CDC_POSTGRES_DSN, CDC_MONGO_URI, CDC_MONGO_DATABASE and CDC_LEDGER are read by cdc.open() itself.

export const seed = wholeNumber('SEED', 1);
export const mix = readMix(__ENV.MIX || '70/20/10');

// Long enough for start(), which waits for the seed rows, and for drain(), which waits for the rest.
export const timeouts = { setupTimeout: '2m', teardownTimeout: '2m' };
export const drainLimit = __ENV.DRAIN || '60s';

// The targets of the specification (2.7.7), on the measured load only.
export const thresholds = {
  'cdc_e2e_latency_ms{scenario:load}': ['p(50)<500', 'p(95)<2000', 'p(99)<5000'],
  'cdc_e2e_success_rate{scenario:load}': ['rate>0.999'],
};

export const summaryTrendStats = ['count', 'avg', 'min', 'med', 'p(50)', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'];

// constantLoad is the scenario `load` at a constant rate, after a scenario `warmup` at the same rate.
export function constantLoad(defaults) {
  const rate = wholeNumber('RATE', defaults.rate);
  const warmup = __ENV.WARMUP || '5s';
  const load = {
    executor: 'constant-arrival-rate',
    rate: rate,
    timeUnit: '1s',
    duration: __ENV.DURATION || defaults.duration,
    ...virtualUsers(rate),
  };
  if (/^0[a-z]*$/.test(warmup)) return { load };
  // No graceful stop: the VUs of the warmup are free for the load at once.
  return { warmup: { ...load, duration: warmup, gracefulStop: '0s' }, load: { ...load, startTime: warmup } };
}

// write() takes microseconds, so VUs are needed only where k6 itself was held up and runs all that
// is overdue at once: as many as half a second holds. A free VU that is missing drops the write.
function virtualUsers(rate) {
  const planned = Math.max(50, Math.ceil(rate / 2));
  return { preAllocatedVUs: planned, maxVUs: 2 * planned };
}

function wholeNumber(name, fallback) {
  const text = __ENV[name];
  if (text === undefined || text === '') return fallback;
  if (!/^-?[0-9]+$/.test(text)) throw new Error(`${name}=${text}: want a whole number`);
  return Number(text);
}

function readMix(text) {
  const parts = text.match(/^([0-9]+)\/([0-9]+)\/([0-9]+)$/);
  if (!parts) throw new Error(`MIX=${text}: want insert/update/delete, such as 70/20/10`);
  return { insert: Number(parts[1]), update: Number(parts[2]), delete: Number(parts[3]) };
}
