/**
 * One WebSocket that comes back by itself: what flowd's browser clients have in common. What is said over it is theirs.
 *
 * @module flowd-line
 */

/**
 * The address of this path at the daemon that has sent us this module, below whichever path a proxy has it.
 *
 * @param {string} path
 * @param {string} [module] a module's address, as flowd serves it
 */
export function home(path, module = import.meta.url) {
  const end = module.lastIndexOf('/assets/');
  return end < 0 ? path : `${module.slice(0, end)}${path}`;
}

/** How often the daemon is asked for a sign of life, in milliseconds. */
export const PING_EVERY_MS = 30_000;
/** A connection that says nothing for so long after a ping is dead. */
export const PONG_WITHIN_MS = 10_000;
/** A connection that is not open by then is given up. */
export const OPEN_WITHIN_MS = 10_000;
/** A connection that lasted so long was a good one: the next wait is short again. */
export const STABLE_AFTER_MS = 5_000;
/** The first wait is at most so long, each further one twice as long. */
export const BACKOFF_FIRST_MS = 500;
/** No wait is longer. */
export const BACKOFF_MOST_MS = 30_000;

const POLICY_VIOLATION = 1008;

/**
 * `connected`; `slow`: connected, but we or the line cannot keep up; `disconnected`: not now, and coming back by itself
 * unless `close` was called.
 *
 * @typedef {'connected' | 'slow' | 'disconnected'} Status
 */

/**
 * @typedef {object} LineOptions
 * @property {new (url: string) => WebSocket} [WebSocket] another implementation, for tests
 * @property {() => number} [random] 0 up to 1, for the jitter
 * @property {() => Promise<string>} [ticket] makes a ticket for each connection, where streams are read with a token
 */

/**
 * Whose line it is. None of its functions throws.
 *
 * @typedef {object} Owner
 * @property {() => void} opened it is connected, and nothing was said on this connection yet
 * @property {(message: any) => void} heard a message came
 * @property {() => void} ping it is time to call `Line.ping`
 * @property {() => void} lost the connection is no more
 * @property {(change: {status: Status, retryAt: number | null, reason: string}) => void} changed
 */

/**
 * How long to wait before attempt `attempt` (0 is the first): exponential, with half of it left to chance, so that
 * the clients of a daemon that restarts do not all come back in the same instant.
 *
 * @param {number} attempt
 * @param {() => number} random
 */
export function backoff(attempt, random) {
  const span = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 30));
  return Math.round(span / 2 + (random() * span) / 2);
}

/** One timer per name. */
export class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #running = new Map();

  /** Then, after so long, instead of what had this name; without a delay, nothing. @param {string} name @param {number | null} delay @param {() => void} [then] */
  after(name, delay, then) {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
    if (delay === null || !then) return;
    const timer = setTimeout(() => {
      this.#running.delete(name);
      then();
    }, delay);
    this.#running.set(name, timer);
  }

  /** None of them any more. */
  clear() {
    for (const name of [...this.#running.keys()]) this.after(name, null);
  }
}

export class Line {
  /** @type {Status} */
  status = 'disconnected';
  /** When it was last connected, as `Date.now()`; null if it never was. @type {number | null} */
  seenAt = null;
  /** When it tries again, as `Date.now()`; null while it is connected, connecting or closed. @type {number | null} */
  retryAt = null;

  /** @type {WebSocket | null} */
  #socket = null;
  #closed = false;
  #attempt = 0;
  #openedAt = 0;
  #timers = new Timers();
  /** The attempt that waits for a ticket. @type {object | null} */
  #waiting = null;
  #owner;
  #url;
  #ticket;
  #WebSocket;
  #random;

  /** It dials when it is told to `reconnect`. @param {string | URL} url @param {LineOptions} options @param {Owner} owner */
  constructor(url, options, owner) {
    this.#owner = owner;
    this.#url = address(url);
    this.#ticket = options.ticket ?? null;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    this.#random = options.random ?? Math.random;
    if (typeof window === 'undefined') return;
    // It comes back when the network does, and is looked at when the page is looked at.
    window.addEventListener('online', () => this.reconnect());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.check();
    });
  }

  /** Try again now instead of later; while connected, nothing happens. */
  reconnect() {
    if (this.#socket !== null || this.#closed) return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Find out now whether the connection is still good, or whether one can be had. */
  check() {
    if (this.#socket?.readyState === 1) this.#owner.ping();
    else this.reconnect();
  }

  /** End it for good. */
  close() {
    this.#closed = true;
    this.#drop('closed', 1000);
  }

  /** @param {object} message @returns {boolean} whether it could be said */
  say(message) {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Say this, to which there is an answer: without any the connection ends. @param {object} message @returns {boolean} whether it could be said */
  ping(message) {
    if (!this.say(message)) return false;
    this.#timers.after('ping', PING_EVERY_MS, () => this.#owner.ping());
    this.#timers.after('dead', PONG_WITHIN_MS, () => this.#drop('no sign of life'));
    return true;
  }

  /** How well it goes, while it is connected. @param {'connected' | 'slow'} status */
  goes(status) {
    if (this.status !== 'disconnected') this.#be(status, null);
  }

  // -- connecting

  #connect() {
    this.#timers.after('retry', null);
    this.#be(this.status, null);
    if (this.#ticket === null) {
      this.#dial(this.#url);
      return;
    }
    const attempt = (this.#waiting = {});
    this.#timers.after('open', OPEN_WITHIN_MS, () => this.#lose('no ticket'));
    this.#ticket().then(
      (ticket) => this.#waiting === attempt && this.#dial(`${this.#url}${this.#url.includes('?') ? '&' : '?'}ticket=${ticket}`),
      (error) => this.#waiting === attempt && this.#lose(String(error)),
    );
  }

  /** @param {string} url */
  #dial(url) {
    this.#waiting = null;
    /** @type {WebSocket} */
    let socket;
    try {
      socket = new this.#WebSocket(url);
    } catch (error) {
      this.#lose(String(error));
      return;
    }
    this.#socket = socket;
    this.#timers.after('open', OPEN_WITHIN_MS, () => this.#drop('no answer'));
    socket.onopen = () => this.#socket === socket && this.#opened();
    socket.onmessage = (event) => this.#socket === socket && this.#heard(event.data);
    socket.onclose = (event) => {
      if (this.#socket !== socket) return;
      if (event.code === POLICY_VIOLATION) this.#attempt = Math.max(this.#attempt, 5);
      this.#lose(event.reason || `closed (${event.code})`);
    };
  }

  #opened() {
    this.#timers.after('open', null);
    this.#openedAt = this.seenAt = Date.now();
    this.#be('connected', null);
    this.#owner.opened();
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
    this.#owner.heard(message);
  }

  /** @param {string} reason @param {number} [code] */
  #drop(reason, code) {
    const socket = this.#socket;
    this.#lose(reason);
    socket?.close(code);
  }

  /** The connection is no more: forget all about it, and come back. @param {string} reason */
  #lose(reason) {
    if (this.status !== 'disconnected') {
      this.seenAt = Date.now();
      if (this.seenAt - this.#openedAt >= STABLE_AFTER_MS) this.#attempt = 0;
    }
    this.#socket = this.#waiting = null;
    this.#timers.clear();
    this.#owner.lost();
    if (this.#closed) {
      this.#be('disconnected', null, reason);
      return;
    }
    const delay = backoff(this.#attempt++, this.#random);
    this.#be('disconnected', Date.now() + delay, reason);
    this.#timers.after('retry', delay, () => this.#connect());
  }

  /** @param {Status} status @param {number | null} retryAt @param {string} [reason] */
  #be(status, retryAt, reason = '') {
    if (status === this.status && retryAt === this.retryAt) return;
    this.status = status;
    this.retryAt = retryAt;
    this.#owner.changed({ status, retryAt, reason });
  }
}

/** A WebSocket's address. @param {string | URL} url */
function address(url) {
  const found = new URL(url, typeof location === 'undefined' ? undefined : location.href);
  found.protocol = found.protocol.replace(/^http/, 'ws');
  return found.href;
}
