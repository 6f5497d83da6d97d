// Waiting for conditions, with deadlines.

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Asks until the answer is truthy, and gives it; fails with `what` when `ms` are over.
 * What `condition` throws ends the wait at once.
 * @template T
 * @param {string} what
 * @param {() => Promise<T> | T} condition
 */
export async function until(what, condition, ms = 20_000, every = 50) {
  const deadline = performance.now() + ms;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(every);
  }
}
