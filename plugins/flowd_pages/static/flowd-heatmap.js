/**
 * The live liquidation maps of a flowd daemon, over one WebSocket that comes back by itself.
 *
 *     import { HeatmapWebSocket } from '/assets/flowd-heatmap.js';
 *
 *     const maps = new HeatmapWebSocket();
 *     maps.addEventListener('snapshot', ({ detail }) => console.log(detail.symbol, detail.data.levels));
 *     maps.addEventListener('status', () => console.log(maps.status));
 *     maps.subscribe(['BTCUSDT', 'ETHUSDT']);
 *
 * Each map is whole, so none has to be put together. After a connection ended, every symbol goes on after the last
 * position that was seen: a map that did not change meanwhile is not sent again.
 *
 * Events: `snapshot`, `warning` and `error` with the daemon's message as `detail`, and `status`.
 *
 * @module flowd-heatmap
 */

import { Line, home } from './flowd-line.js';

/** @typedef {import('./flowd-line.js').Status} Status */
/** @typedef {'estimated' | 'observed'} Source */

/** The daemon takes so many symbols in one message. */
const AT_ONCE = 10;

/**
 * @typedef {object} HeatmapOptions
 * @property {string | URL} [url] the WebSocket's address; by default `/ws/heatmap` of the daemon that this module came from
 * @property {number} [interval] how often a map is sent at most, in seconds, 1 to 60; 5 by default
 */
/** @typedef {import('./flowd-line.js').LineOptions & HeatmapOptions} Options */

export class HeatmapWebSocket extends EventTarget {
  /** The round trip of the last ping, in milliseconds; null before. @type {number | null} */
  latencyMs = null;

  /** Of each symbol the source that was asked for, if one was, and the position of its last map, `''` before the first. @type {Map<string, {source: Source | undefined, position: string}>} */
  #wanted = new Map();
  #pingedAt = 0;
  #interval;
  #line;

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    this.#interval = options.interval ?? 5;
    this.#line = new Line(options.url ?? home('/ws/heatmap'), options, {
      opened: () => {
        this.#ask(this.symbols);
        this.#ping();
      },
      heard: (message) => this.#heard(message),
      ping: () => this.#ping(),
      lost: () => {},
      changed: (detail) => this.dispatchEvent(new CustomEvent('status', { detail })),
    });
    this.#line.reconnect();
  }

  /**
   * `slow` from the daemon's warning that we read too slowly until the next map comes; `disconnected`: not now, and
   * coming back by itself unless `close` was called.
   *
   * @returns {Status}
   */
  get status() {
    return this.#line.status;
  }

  /** When it was last connected, as `Date.now()`; null if it never was. */
  get seenAt() {
    return this.#line.seenAt;
  }

  /** When it tries again, as `Date.now()`; null while it is connected, connecting or closed. */
  get retryAt() {
    return this.#line.retryAt;
  }

  /**
   * Follow these too, or in another source than before.
   *
   * @param {string[]} symbols
   * @param {Source} [source] without one, the estimated map, or the observed one where there is no other
   */
  subscribe(symbols, source) {
    const fresh = [...new Set(symbols)].filter((symbol) => !this.#wanted.has(symbol) || this.#wanted.get(symbol)?.source !== source);
    for (const symbol of fresh) this.#wanted.set(symbol, { source, position: '' });
    this.#ask(fresh);
  }

  /** Follow these no more: none of their maps comes any longer. @param {string[]} symbols */
  unsubscribe(symbols) {
    const known = [...new Set(symbols)].filter((symbol) => this.#wanted.delete(symbol));
    for (const some of parts(known)) this.#line.say({ action: 'unsubscribe', symbols: some });
  }

  /** Which are followed. */
  get symbols() {
    return [...this.#wanted.keys()];
  }

  /** Try again now instead of later; while connected, nothing happens. */
  reconnect() {
    this.#line.reconnect();
  }

  /** Find out now whether the connection is still good, or whether one can be had. */
  check() {
    this.#line.check();
  }

  /** End it for good. */
  close() {
    this.#wanted.clear();
    this.#line.close();
  }

  // -- talking

  /** @param {string[]} symbols which are wanted */
  #ask(symbols) {
    const sources = new Set(symbols.map((symbol) => this.#wanted.get(symbol)?.source));
    for (const source of sources) {
      for (const some of parts(symbols.filter((symbol) => this.#wanted.get(symbol)?.source === source))) {
        const seen = some.map((symbol) => [symbol, this.#wanted.get(symbol)?.position]).filter(([, position]) => position);
        const after = seen.length ? Object.fromEntries(seen) : undefined;
        this.#line.say({ action: 'subscribe', symbols: some, source, update_interval: this.#interval, after });
      }
    }
  }

  #ping() {
    this.#pingedAt = Date.now();
    this.#line.ping({ action: 'ping' });
  }

  /** @param {any} message */
  #heard(message) {
    if (message?.type === 'pong') this.latencyMs = Date.now() - this.#pingedAt;
    else if (message?.type === 'snapshot') this.#told(message);
    else if (message?.type === 'warning' || message?.type === 'error') {
      if (message.code === 'SLOW_CONSUMER') this.#line.goes('slow');
      this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
    }
  }

  /** @param {{symbol: string, position?: string, data: {source: Source}}} snapshot */
  #told(snapshot) {
    const wanted = this.#wanted.get(snapshot.symbol);
    // One that was on its way when it was let go of, or followed in the other source.
    if (!wanted || (wanted.source && wanted.source !== snapshot.data.source)) return;
    wanted.position = snapshot.position ?? '';
    this.#line.goes('connected');
    this.dispatchEvent(new CustomEvent('snapshot', { detail: snapshot }));
  }
}

/** @param {string[]} symbols as many as may be said at once, each */
function parts(symbols) {
  const found = [];
  for (let at = 0; at < symbols.length; at += AT_ONCE) found.push(symbols.slice(at, at + AT_ONCE));
  return found;
}
