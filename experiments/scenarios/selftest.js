// Self-test: the floor of every latency. It writes WRITES (500) documents to MongoDB directly, one
// after another or RATE a second, and measures until the tracker saw each. No PostgreSQL and no
// pipeline are needed.
//
//   k6 run -e CDC_MONGO_URI=mongodb://127.0.0.1:27017 -e CDC_LEDGER=floor.jsonl selftest.js
import cdc from 'k6/x/cdc';

export { handleSummary } from './lib/summary.js';

export const options = {
  scenarios: {
    selftest: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '10m' },
  },
};

const lab = cdc.open();

export default function () {
  const plan = { writes: Number(__ENV.WRITES || 500) };
  if (__ENV.RATE) plan.rate = Number(__ENV.RATE);
  lab.selftest(plan);
}
