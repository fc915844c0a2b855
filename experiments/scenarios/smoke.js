// Smoke: does the whole pipeline work at all? 50 writes per second for 20 seconds, for pull requests.
//
//   k6 run -e RATE=20 smoke.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import cdc from 'k6/x/cdc';
import { constantLoad, drainLimit, mix, seed, summaryTrendStats, timeouts } from './lib/config.js';

export { handleSummary } from './lib/summary.js';

export const options = {
  scenarios: constantLoad({ rate: 50, duration: '20s' }),
  thresholds: JSON.parse(open('../thresholds/smoke.json')),
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
