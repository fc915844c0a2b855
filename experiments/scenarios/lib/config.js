// What the load scenarios share: their knobs, all from the environment, and their shapes. Each script's
// thresholds are ../../thresholds/<script>.json, limits on its scenario `load`.
//
//   RATE      writes per second            MIX      insert/update/delete in per cent, "70/20/10"
//   DURATION  of the measured load         SEED     of every random choice
//   WARMUP    of the load before it, of which nothing is measured; "0s" for none
//   DRAIN     the longest wait for outstanding writes after the load, "60s"
//
// CDC_POSTGRES_DSN, CDC_MONGO_URI, CDC_MONGO_DATABASE, CDC_LEDGER and CDC_OPTIONS are read by cdc.open() itself.

// What is not set is left to cdc.open(), and CDC_SEED is read there: a number of 64 bits, exactly.
export const seed = __ENV.CDC_SEED ? undefined : wholeNumber('SEED', undefined);
export const mix = __ENV.MIX ? readMix(__ENV.MIX) : undefined;

// Long enough for start(), which waits for the seed rows, and for drain(), which waits for the rest.
export const drainLimit = __ENV.DRAIN || '60s';
export const timeouts = { setupTimeout: '2m', teardownTimeout: `${60 + seconds('DRAIN', drainLimit)}s` };

export const summaryTrendStats = ['count', 'avg', 'min', 'med', 'p(50)', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'];

// constantLoad is the scenario `load` at a constant rate, after a scenario `warmup` at the same rate.
export function constantLoad(defaults) {
  const rate = wholeNumber('RATE', defaults.rate);
  return afterWarmup(rate, {
    executor: 'constant-arrival-rate',
    rate: rate,
    timeUnit: '1s',
    duration: __ENV.DURATION || defaults.duration,
    ...virtualUsers(rate),
  });
}

// changingLoad is the scenario `load` at a rate that changes in stages, after a scenario `warmup` at the
// first rate. shape(rate) gives [[share of the duration, times the rate], ...]: each stage goes in a
// straight line from where the one before ended; a share of 0 jumps.
export function changingLoad(defaults, shape) {
  const rate = wholeNumber('RATE', defaults.rate);
  const length = seconds('DURATION', __ENV.DURATION || defaults.duration);
  if (length === 0) throw new Error('DURATION: want a length above 0');
  const stages = shape.map(([share, times]) => ({
    duration: `${Math.round(1000 * share * length)}ms`, target: Math.round(times * rate),
  }));
  return afterWarmup(rate, {
    executor: 'ramping-arrival-rate',
    startRate: rate,
    timeUnit: '1s',
    stages,
    ...virtualUsers(Math.max(...stages.map((stage) => stage.target))),
  });
}

function afterWarmup(rate, load) {
  const warmup = __ENV.WARMUP || '5s';
  if (/^0[a-z]*$/.test(warmup)) return { load };
  return {
    // No graceful stop: the VUs of the warmup are free for the load at once.
    warmup: { executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: warmup, gracefulStop: '0s', ...virtualUsers(rate) },
    load: { ...load, startTime: warmup },
  };
}

// write() takes microseconds, so VUs are needed only where k6 itself was held up and runs all that
// is overdue at once: as many as half a second holds. A free VU that is missing drops the write. A VU
// is a JavaScript engine of 100 KB, so there are no more than a thousand from the start.
function virtualUsers(rate) {
  const wanted = Math.max(50, Math.ceil(rate / 2));
  return { preAllocatedVUs: Math.min(wanted, 1000), maxVUs: 2 * wanted };
}

export function wholeNumber(name, fallback) {
  const text = __ENV[name];
  if (text === undefined || text === '') return fallback;
  if (!/^-?[0-9]+$/.test(text)) throw new Error(`${name}=${text}: want a whole number`);
  return Number(text);
}

// seconds reads a length such as "90s", "5m", "1h30m" or "500ms".
function seconds(name, text) {
  const parts = text.match(/^(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?(?:([0-9.]+)ms)?$/);
  const [h, m, s, ms] = parts ? parts.slice(1).map((part) => Number(part || 0)) : [];
  const length = 3600 * h + 60 * m + s + ms / 1000;
  if (!text || !(length >= 0)) throw new Error(`${name}=${text}: want a length such as "90s", "5m" or "1h30m"`);
  return length;
}

function readMix(text) {
  const parts = text.match(/^([0-9]+)\/([0-9]+)\/([0-9]+)$/);
  if (!parts) throw new Error(`MIX=${text}: want insert/update/delete, such as 70/20/10`);
  return { insert: Number(parts[1]), update: Number(parts[2]), delete: Number(parts[3]) };
}
