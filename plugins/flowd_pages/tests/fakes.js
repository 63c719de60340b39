/** A WebSocket that a test holds the other end of. */

/** @typedef {{action: string, id?: number, streams?: string[], filter?: object, limit?: number, after?: Record<string, string>}} Said */

export class FakeSocket {
  /** @type {FakeSocket[]} every one that was made, in order */
  static made = [];

  static get last() {
    return /** @type {FakeSocket} */ (FakeSocket.made.at(-1));
  }

  readyState = 0;
  /** @type {Said[]} */
  said = [];
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    FakeSocket.made.push(this);
  }

  /** @param {string} text */
  send(text) {
    this.said.push(JSON.parse(text));
  }

  close(code = 1005) {
    this.end(code);
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  /** @param {object} message */
  says(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** @param {string} stream @param {string} position @param {unknown[]} values @param {boolean} [first] */
  records(stream, position, values, first = false) {
    const records = values.map((value, index) => ({ seq: index + 1, time_ms: 0, value }));
    this.says({ type: 'records', stream, position, first, records });
  }

  /** Answer every ping that has not been answered. @param {number} [time_ms] */
  pong(time_ms = Date.now()) {
    for (const said of this.said.splice(0)) {
      if (said.action === 'ping') this.says({ type: 'pong', id: said.id, time_ms });
      else this.kept.push(said);
    }
  }

  /** @type {Said[]} what was said but for pings, when `pong` was called */
  kept = [];

  /** @param {string} action */
  all(action) {
    return [...this.kept, ...this.said].filter((said) => said.action === action);
  }

  /** @param {number} code @param {string} [reason] */
  end(code, reason = '') {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/** The same chances each time. @param {number} seed @returns {() => number} */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
