// What a scenario may be told from outside: k6 run -e RATE=500 -e DURATION=60s baseline.js

export function config(defaults) {
  const mix = (__ENV.MIX || '70/20/10').split('/').map(Number);
  return {
    rate: Number(__ENV.RATE || defaults.rate),
    duration: __ENV.DURATION || defaults.duration,
    warmup: __ENV.WARMUP || defaults.warmup,
    mix: { insert: mix[0], update: mix[1], delete: mix[2] },
  };
}

// A write() only enqueues, so a few VUs keep any schedule; the rest is headroom for a busy machine.
function arrivals(rate, duration, startTime) {
  const vus = Math.max(20, Math.ceil(rate / 10));
  return {
    executor: 'constant-arrival-rate',
    rate, duration, startTime, timeUnit: '1s', preAllocatedVUs: vus, maxVUs: 2 * vus, gracefulStop: '5s',
  };
}

// An unmeasured warmup, then the load. The writes of a scenario named warmup are in no latency.
export function warmThenLoad({ rate, duration, warmup }) {
  return {
    warmup: arrivals(rate, warmup, '0s'),
    load: arrivals(rate, duration, warmup),
  };
}

// The limits of the specification, section 2.7.7.
export const thresholds = {
  cdc_e2e_latency_ms: ['p(50)<500', 'p(95)<2000', 'p(99)<5000'],
  cdc_e2e_success_rate: ['rate>0.999'],
};
