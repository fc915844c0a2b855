// Churn: rows of which the pipeline could keep something wrong. A few rows are updated again and again,
// deleted, and made anew under the same key; updates leave large values alone; an order and its items
// come in one transaction. Each bug of chaos/planted shows under this load.
//
//   k6 run -e RATE=100 -e DURATION=40s churn.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import cdc from 'k6/x/cdc';
import exec from 'k6/execution';
import { constantLoad, drainLimit, mix, seed, summaryTrendStats, timeouts } from './lib/config.js';

export { handleSummary } from './lib/summary.js';

const lab = cdc.open({
  mix: mix || { insert: 35, update: 45, delete: 20 }, seed,
  entities: { customer: 40, address: 25, order: 15, order_item: 20 },
  choice: 'zipf', zipf: 1.2, seedRows: 200, toastShare: 0.3, reuseShare: 0.5,
});

export function setup() {
  lab.start();
}

// One iteration in ten writes an order with two items.
export default function () {
  if (exec.scenario.iterationInTest % 10 === 0) {
    lab.transaction([
      { entity: 'order', op: 'insert' },
      { entity: 'order_item', op: 'insert' }, { entity: 'order_item', op: 'insert' },
    ]);
    return;
  }
  lab.write();
}

export function teardown() {
  lab.drain(drainLimit);
}

export const options = {
  scenarios: constantLoad({ rate: 50, duration: '40s' }),
  thresholds: JSON.parse(open('../thresholds/churn.json')),
  summaryTrendStats,
  ...timeouts,
};
