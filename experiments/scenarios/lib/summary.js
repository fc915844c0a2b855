// handleSummary writes k6's end-of-test data (every metric with its values and thresholds) as JSON
// to CDC_SUMMARY, and prints nothing then. Where that is not set, k6 prints its usual text: that is
// what it does when this function returns nothing.
export function handleSummary(data) {
  if (!__ENV.CDC_SUMMARY) return undefined;
  return { [__ENV.CDC_SUMMARY]: JSON.stringify(data, null, 2) };
}
