// Soak: does anything grow? 100 writes per second for two hours (specification 2.7.3).
//
//   k6 run -e DURATION=15m soak.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import cdc from 'k6/x/cdc';
import { constantLoad, drainLimit, mix, seed, summaryTrendStats, timeouts } from './lib/config.js';

export { handleSummary } from './lib/summary.js';

export const options = {
  scenarios: constantLoad({ rate: 100, duration: '2h' }),
  thresholds: JSON.parse(open('../thresholds/soak.json')),
  summaryTrendStats,
  ...timeouts,
};

const lab = cdc.open({ mix, seed });

export function setup() {
  lab.start();
}

export default function () {
  lab.write();
}

export function teardown() {
  lab.drain(drainLimit);
}
