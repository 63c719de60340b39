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

import { OPEN_WITHIN_MS, PING_EVERY_MS, PONG_WITHIN_MS, STABLE_AFTER_MS, Timers, address, backoff, wakes } from './flowd-client.js';

/** @typedef {import('./flowd-client.js').Status} Status */

/** The daemon takes so many symbols in one message. */
const AT_ONCE = 10;

/**
 * @typedef {object} Options
 * @property {string | URL} [url] the WebSocket's address; by default `/ws/heatmap` where the page came from
 * @property {number} [interval] how often a map is sent at most, in seconds, 1 to 60; 5 by default
 * @property {new (url: string) => WebSocket} [WebSocket] another implementation, for tests
 * @property {() => number} [random] 0 up to 1, for the jitter
 */

export class HeatmapWebSocket extends EventTarget {
  /**
   * `slow` from the daemon's warning that we read too slowly until the next map comes; `disconnected`: not now, and
   * coming back by itself unless `close` was called.
   *
   * @type {Status}
   */
  status = 'disconnected';
  /** When it was last connected, as `Date.now()`; null if it never was. @type {number | null} */
  seenAt = null;
  /** When it tries again, as `Date.now()`; null while it is connected, connecting or closed. @type {number | null} */
  retryAt = null;
  /** The round trip of the last ping, in milliseconds; null before. @type {number | null} */
  latencyMs = null;

  /** The position of each symbol's last map, `''` before the first. @type {Map<string, string>} */
  #wanted = new Map();
  /** @type {WebSocket | null} */
  #socket = null;
  #closed = false;
  #attempt = 0;
  #openedAt = 0;
  #pingedAt = 0;
  #timers = new Timers();
  #url;
  #interval;
  #WebSocket;
  #random;

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    this.#url = address(options.url ?? '/ws/heatmap');
    this.#interval = options.interval ?? 5;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    this.#random = options.random ?? Math.random;
    wakes(this);
    this.#connect();
  }

  /** Follow these too. @param {string[]} symbols */
  subscribe(symbols) {
    const fresh = [...new Set(symbols)].filter((symbol) => !this.#wanted.has(symbol));
    for (const symbol of fresh) this.#wanted.set(symbol, '');
    this.#ask(fresh);
  }

  /** Follow these no more: none of their maps comes any longer. @param {string[]} symbols */
  unsubscribe(symbols) {
    const known = [...new Set(symbols)].filter((symbol) => this.#wanted.delete(symbol));
    for (const some of parts(known)) this.#say({ action: 'unsubscribe', symbols: some });
  }

  /** Which are followed. */
  get symbols() {
    return [...this.#wanted.keys()];
  }

  /** Try again now instead of later; while connected, nothing happens. */
  reconnect() {
    if (this.#socket !== null || this.#closed) return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Find out now whether the connection is still good, or whether one can be had. */
  check() {
    if (this.#socket?.readyState === 1) this.#ping();
    else this.reconnect();
  }

  /** End it for good. */
  close() {
    this.#closed = true;
    this.#wanted.clear();
    const socket = this.#socket;
    this.#lose();
    socket?.close(1000);
  }

  // -- connecting

  #connect() {
    this.#timers.after('retry', null);
    this.#be(this.status, null);
    const socket = (this.#socket = new this.#WebSocket(this.#url));
    this.#timers.after('open', OPEN_WITHIN_MS, () => this.#giveUp());
    socket.onopen = () => this.#socket === socket && this.#opened();
    socket.onmessage = (event) => this.#socket === socket && this.#heard(event.data);
    socket.onclose = () => this.#socket === socket && this.#lose();
  }

  #opened() {
    this.#timers.after('open', null);
    this.#openedAt = this.seenAt = Date.now();
    this.#be('connected', null);
    this.#ask(this.symbols);
    this.#ping();
  }

  #giveUp() {
    const socket = this.#socket;
    this.#lose();
    socket?.close();
  }

  /** The connection is no more: come back. */
  #lose() {
    if (this.status !== 'disconnected') {
      this.seenAt = Date.now();
      if (this.seenAt - this.#openedAt >= STABLE_AFTER_MS) this.#attempt = 0;
    }
    this.#socket = null;
    this.#timers.clear();
    if (this.#closed) {
      this.#be('disconnected', null);
      return;
    }
    const delay = backoff(this.#attempt++, this.#random);
    this.#be('disconnected', Date.now() + delay);
    this.#timers.after('retry', delay, () => this.#connect());
  }

  // -- talking

  /** @param {string[]} symbols */
  #ask(symbols) {
    for (const some of parts(symbols)) {
      const seen = some.map((symbol) => [symbol, this.#wanted.get(symbol)]).filter(([, position]) => position);
      const after = seen.length ? Object.fromEntries(seen) : undefined;
      this.#say({ action: 'subscribe', symbols: some, update_interval: this.#interval, after });
    }
  }

  #ping() {
    this.#pingedAt = Date.now();
    if (!this.#say({ action: 'ping' })) return;
    this.#timers.after('ping', PING_EVERY_MS, () => this.#ping());
    this.#timers.after('dead', PONG_WITHIN_MS, () => this.#giveUp());
  }

  /** @param {unknown} text */
  #heard(text) {
    this.#timers.after('dead', null);
    let message;
    try {
      message = JSON.parse(String(text));
    } catch {
      return;
    }
    if (message?.type === 'pong') this.latencyMs = Date.now() - this.#pingedAt;
    else if (message?.type === 'snapshot') this.#told(message);
    else if (message?.type === 'warning' || message?.type === 'error') {
      if (message.code === 'SLOW_CONSUMER') this.#be('slow', null);
      this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
    }
  }

  /** @param {{symbol: string, position?: string}} snapshot */
  #told(snapshot) {
    // One that was on its way when it was let go of.
    if (!this.#wanted.has(snapshot.symbol)) return;
    this.#wanted.set(snapshot.symbol, snapshot.position ?? '');
    this.#be('connected', null);
    this.dispatchEvent(new CustomEvent('snapshot', { detail: snapshot }));
  }

  // -- small things

  /** @param {object} message @returns {boolean} whether it could be said */
  #say(message) {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** @param {Status} status @param {number | null} retryAt */
  #be(status, retryAt) {
    if (status === this.status && retryAt === this.retryAt) return;
    this.status = status;
    this.retryAt = retryAt;
    this.dispatchEvent(new CustomEvent('status', { detail: { status, retryAt } }));
  }
}

/** @param {string[]} symbols as many as may be said at once, each */
function parts(symbols) {
  const found = [];
  for (let at = 0; at < symbols.length; at += AT_ONCE) found.push(symbols.slice(at, at + AT_ONCE));
  return found;
}
