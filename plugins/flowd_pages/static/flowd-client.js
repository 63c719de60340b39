/**
 * flowd's browser client: follow any of the daemon's streams over one WebSocket.
 *
 *     import { FlowdClient } from '/assets/flowd-client.js';
 *
 *     const flowd = new FlowdClient();
 *     flowd.addEventListener('status', () => console.log(flowd.status));
 *     flowd.follow('force-orders', { filter: { symbol: 'BTCUSDT' }, limit: 50 }, {
 *       records(records, { first }) {
 *         if (first) list.length = 0;          // a snapshot: forget what you had
 *         list.push(...records.map((record) => record.value));
 *       },
 *       gap({ first, last }) { console.warn(`${last - first + 1} records are lost`); },
 *     });
 *
 * It comes back by itself when the connection ends, restores what was followed, and goes on after the last position
 * that it saw, so that nothing is missed and nothing comes twice. What could not be kept is said: `gap` when records
 * fell off the log in between, `reset` when positions mean nothing any more and everything comes anew.
 *
 * One client follows a stream at most once; `Subscription.change` follows it differently. No dependencies but for
 * `flowd-line.js`, which lies beside it.
 *
 * @module flowd-client
 */

import { Line, Timers, home } from './flowd-line.js';

export { BACKOFF_FIRST_MS, BACKOFF_MOST_MS, OPEN_WITHIN_MS, PING_EVERY_MS, PONG_WITHIN_MS, STABLE_AFTER_MS, backoff } from './flowd-line.js';

/** An answer that takes longer than this makes the status `slow`. */
export const SLOW_PONG_MS = 3_000;
/** How long the status stays `slow` after the daemon's last warning. */
export const SLOW_FOR_MS = 10_000;
/** @typedef {import('./flowd-line.js').Status} Status */

/**
 * One record as the daemon sends it; `value` is what the stream carries. Decimal numbers are strings.
 *
 * @typedef {object} FlowdRecord
 * @property {number} seq its number in the stream
 * @property {number} time_ms when the daemon appended it
 * @property {string} [key] in a table: what it supersedes
 * @property {any} value
 */

/**
 * What to follow of a stream.
 *
 * @typedef {object} Wish
 * @property {Record<string, string | number | boolean | (string | number)[]>} [filter] such as `{symbol: 'BTCUSDT', min_notional: 10000}`
 * @property {number} [limit] how many of the newest records the first snapshot holds; all that is retained if not given
 * @property {string} [after] a position to go on from, instead of a snapshot
 */

/**
 * The records `first` to `last`, both included, are gone and were not received.
 *
 * @typedef {object} Gap
 * @property {number} first
 * @property {number} last
 */

/**
 * What the daemon says when a subscription cannot be.
 *
 * @typedef {object} Mistake
 * @property {string} code
 * @property {string} message
 * @property {string} [parameter]
 * @property {unknown} [value]
 * @property {unknown} [allowed]
 * @property {unknown} [id]
 */

/**
 * Called with what comes. Each is optional, and what it throws is reported and harms no other.
 *
 * @typedef {object} Handlers
 * @property {(records: FlowdRecord[], info: {first: boolean, position: string}) => void} [records] new records, oldest
 *   first; with `first` they begin a snapshot that replaces everything before, even when there are none
 * @property {(gap: Gap) => void} [gap] records were lost; the ones after them follow
 * @property {() => void} [reset] the daemon lost its past: a snapshot follows
 * @property {(behind: number) => void} [slow] we read too slowly and were so many records behind
 * @property {(mistake: Mistake) => void} [error] the subscription was refused; it is asked for again at the next
 *   connection
 */

/** @typedef {import('./flowd-line.js').LineOptions & {url?: string | URL, start?: boolean}} Options `url` is the WebSocket's address, by default `/ws` of the daemon that this module came from; without `start` it connects at once */

/** One stream that a client follows, until `close`. Made by `FlowdClient.follow`. */
export class Subscription {
  /** @type {FlowdClient} */
  #client;
  /** The position after the last record received, `''` before the first message. */
  position = '';

  /**
   * @param {FlowdClient} client
   * @param {string} stream
   * @param {Wish} wish
   * @param {Handlers} handlers
   */
  constructor(client, stream, wish, handlers) {
    this.#client = client;
    this.stream = stream;
    this.wish = wish;
    this.handlers = handlers;
    this.position = wish.after ?? '';
  }

  /**
   * Follow the same stream differently. A snapshot comes; nothing of the former choice comes any more.
   *
   * @param {Wish} wish
   */
  change(wish) {
    this.wish = wish;
    this.position = wish.after ?? '';
    this.#client.renew(this);
  }

  /** Follow it no longer. No handler is called again. */
  close() {
    this.#client.unfollow(this);
  }
}

/**
 * What the daemon was told about a stream on this connection: `asked` to send it, `leaving` while we wait for the pong
 * that divides what was sent before from what comes after.
 *
 * @typedef {object} Place
 * @property {'asked' | 'leaving' | 'refused'} state
 * @property {number} id the subscribe's or the ping's
 */

/** One connection to a daemon, kept up for as long as it is wanted. Fires `status` whenever `status` or `retryAt` changes. */
export class FlowdClient extends EventTarget {
  /** The daemon's clock minus ours, in milliseconds, as of the last pong. */
  skewMs = 0;
  /** The round trip of the last ping, in milliseconds; null before. @type {number | null} */
  latencyMs = null;

  /** @type {Map<string, Subscription>} */
  #wanted = new Map();
  /** @type {Map<string, Place>} */
  #places = new Map();
  #ids = 0;
  #slowUntil = 0;
  #late = false;
  /** Pings under way: when each was sent. @type {Map<number, number>} */
  #pings = new Map();
  #timers = new Timers();
  #line;

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    this.#line = new Line(options.url ?? home('/ws'), options, {
      opened: () => {
        for (const stream of this.#wanted.keys()) this.#settle(stream);
        this.#ping();
      },
      heard: (message) => this.#heard(message),
      ping: () => this.#ping(),
      lost: () => this.#lost(),
      changed: (detail) => this.dispatchEvent(new CustomEvent('status', { detail })),
    });
    if (options.start ?? true) this.#line.reconnect();
  }

  /** @returns {Status} */
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
   * Follow a stream from now on, over as many connections as it takes.
   *
   * @param {string} stream
   * @param {Wish} [wish]
   * @param {Handlers} [handlers]
   * @returns {Subscription}
   */
  follow(stream, wish = {}, handlers = {}) {
    if (this.#wanted.has(stream)) throw new Error(`${stream} is followed already; change() that subscription`);
    const subscription = new Subscription(this, stream, wish, handlers);
    this.#wanted.set(stream, subscription);
    this.#settle(stream);
    return subscription;
  }

  /** Try again now instead of later; while connected, nothing happens. */
  reconnect() {
    this.#line.reconnect();
  }

  /** Find out now whether the connection is still good, or whether one can be had. */
  check() {
    this.#line.check();
  }

  /** The daemon's wall time, in milliseconds since 1970. */
  now() {
    return Date.now() + this.skewMs;
  }

  /** End it for good. */
  close() {
    this.#wanted.clear();
    this.#line.close();
  }

  /** @param {Subscription} subscription @package */
  renew(subscription) {
    if (this.#wanted.get(subscription.stream) !== subscription) return;
    this.#leave(subscription.stream);
    this.#settle(subscription.stream);
  }

  /** @param {Subscription} subscription @package */
  unfollow(subscription) {
    if (this.#wanted.get(subscription.stream) !== subscription) return;
    this.#wanted.delete(subscription.stream);
    this.#leave(subscription.stream);
  }

  // -- following

  /** Ask for a stream if it is wanted and was not asked for on this connection. @param {string} stream */
  #settle(stream) {
    const subscription = this.#wanted.get(stream);
    if (!subscription || this.#places.has(stream)) return;
    const { filter, limit } = subscription.wish;
    const id = ++this.#ids;
    const after = subscription.position ? { [stream]: subscription.position } : undefined;
    if (this.#line.say({ action: 'subscribe', id, streams: [stream], filter, limit, after })) {
      this.#places.set(stream, { state: 'asked', id });
    }
  }

  /**
   * Ask for a stream no longer. Until the pong after it has come, what comes was sent before.
   *
   * @param {string} stream
   */
  #leave(stream) {
    const place = this.#places.get(stream);
    if (place?.state === 'refused') this.#places.delete(stream);
    if (place?.state !== 'asked') return;
    this.#line.say({ action: 'unsubscribe', streams: [stream] });
    this.#places.set(stream, { state: 'leaving', id: this.#ping() });
  }

  // -- hearing

  /** @param {any} message */
  #heard(message) {
    if (message?.type === 'pong') this.#pong(message);
    else if (message?.type === 'error') this.#refused(message);
    else if (typeof message?.stream === 'string') this.#of(message);
  }

  /** What was said about a stream. @param {any} message */
  #of(message) {
    const subscription = this.#wanted.get(message.stream);
    if (message.type === 'warning') this.#warned();
    if (!subscription || this.#places.get(message.stream)?.state !== 'asked') return;
    const { handlers } = subscription;
    if (message.type === 'records') {
      subscription.position = message.position;
      call(() => handlers.records?.(message.records, { first: message.first, position: message.position }));
    } else if (message.type === 'gap') {
      subscription.position = message.position;
      call(() => handlers.gap?.(message.gap));
    } else if (message.type === 'reset') {
      subscription.position = '';
      call(() => handlers.reset?.());
    } else if (message.type === 'warning') {
      call(() => handlers.slow?.(message.behind));
    }
  }

  /** @param {Mistake} mistake */
  #refused(mistake) {
    for (const [stream, place] of this.#places) {
      if (place.id !== mistake.id || place.state !== 'asked') continue;
      place.state = 'refused';
      call(() => this.#wanted.get(stream)?.handlers.error?.(mistake));
    }
  }

  // -- signs of life

  /** @returns {number} the ping's id */
  #ping() {
    const id = ++this.#ids;
    if (!this.#line.ping({ action: 'ping', id })) return id;
    this.#pings.set(id, Date.now());
    this.#timers.after('late', SLOW_PONG_MS, () => {
      this.#late = true;
      this.#judge();
    });
    return id;
  }

  /** @param {{id?: unknown, time_ms?: unknown}} message */
  #pong(message) {
    const sent = this.#pings.get(Number(message.id));
    if (sent === undefined) return;
    for (const id of this.#pings.keys()) if (id <= Number(message.id)) this.#pings.delete(id);
    const heardAt = Date.now();
    this.latencyMs = heardAt - sent;
    if (typeof message.time_ms === 'number') this.skewMs = message.time_ms - Math.round((sent + heardAt) / 2);
    if (this.#pings.size === 0) this.#timers.after('late', null);
    this.#late = this.latencyMs >= SLOW_PONG_MS;
    this.#judge();
    for (const [stream, place] of [...this.#places]) {
      if (place.state === 'leaving' && place.id === message.id) {
        this.#places.delete(stream);
        this.#settle(stream);
      }
    }
  }

  #warned() {
    this.#slowUntil = Date.now() + SLOW_FOR_MS;
    this.#judge();
    this.#ping();
  }

  /** Connected or slow? */
  #judge() {
    if (this.status === 'disconnected') return;
    const left = this.#slowUntil - Date.now();
    this.#line.goes(this.#late || left > 0 ? 'slow' : 'connected');
    this.#timers.after('better', left > 0 ? left : null, () => this.#judge());
  }

  /** What was said on a connection means nothing on the next. */
  #lost() {
    this.#places.clear();
    this.#pings.clear();
    this.#timers.clear();
    this.#slowUntil = 0;
    this.#late = false;
  }
}

/** Run somebody else's code: its mistakes are reported and are not ours. @param {() => void} run */
function call(run) {
  try {
    run();
  } catch (error) {
    if (typeof reportError === 'function') reportError(error);
    else console.error(error);
  }
}
