/**
 * Alert lines that the daemon keeps: seen as they are there, changed by who has the admin token.
 *
 * @module chart/kept
 */

import { at } from '../dom.js';
import { sinceWords } from './words.js';

/** @typedef {import('../admin.js').Admin} Admin */
/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {import('./alerts.js').Line} Line */

/**
 * A line as the daemon tells it.
 *
 * @typedef {{id: string, symbol: string, price: string, direction: 'up' | 'down' | 'both', repeat: boolean, text: string, state: 'watched' | 'reached' | 'blind', fired_ms: number | null, set_ms: number, known_ms: number | null, removed: boolean}} KeptLine
 */

/** Where the daemon has them. */
const LINES = at('/api/v1/alert-lines');

export class KeptLines {
  /** By id, as the daemon told them last. @type {Map<string, KeptLine>} */
  #lines = new Map();
  /** Prices that the daemon was asked for and has not told yet, by id. @type {Map<string, string>} */
  #wanted = new Map();
  #symbol = '';
  /** @type {import('../flowd-client.js').Subscription[]} */
  #follows = [];

  /**
   * @param {FlowdClient} client
   * @param {string} stream of alerts, `''` where the daemon keeps no lines
   * @param {Pick<Admin, 'send'>} admin who asks the daemon
   * @param {{changed: () => void, told: (sentence: string) => void, say: (words: string) => void}} does
   */
  constructor(client, stream, admin, does) {
    this.client = client;
    this.stream = stream;
    this.does = does;
    this.admin = admin;
  }

  /** Whether the daemon keeps lines. */
  get there() {
    return this.stream !== '';
  }

  /** The lines of this symbol, as they are drawn. @returns {Line[]} */
  get lines() {
    return [...this.#lines.values()].map((line) => ({
      id: line.id,
      price: this.#wanted.get(line.id) ?? line.price,
      from: line.set_ms,
      fired: line.state === 'reached' ? line.fired_ms : null,
      kept: line,
    }));
  }

  /** Have the lines of another symbol. @param {string} symbol */
  open(symbol) {
    this.#symbol = symbol;
    this.#lines.clear();
    this.#wanted.clear();
    if (!this.there) return;
    const filter = { symbol };
    if (this.#follows.length > 0) {
      this.#follows[0].change({ filter });
      this.#follows[1].change({ filter, limit: 0 });
      return;
    }
    this.#follows = [
      this.client.follow(`${this.stream}.lines`, { filter }, {
        records: (records, { first }) => this.put(records.map(({ value }) => value), first),
        error: ({ message }) => this.does.say(`Lines of the daemon: ${message}.`),
      }),
      this.client.follow(this.stream, { filter, limit: 0 }, {
        records: (records) => {
          for (const { value } of records) this.does.told(String(value.text));
        },
        error: () => {},
      }),
    ];
  }

  /** What the daemon told of lines; `first` of all there are. @param {KeptLine[]} lines @param {boolean} first */
  put(lines, first) {
    if (first) this.#lines.clear();
    for (const line of lines) {
      if (line.removed) this.#lines.delete(line.id);
      else this.#lines.set(line.id, line);
    }
    this.does.changed();
  }

  /** Have the daemon keep one at this price. @param {string} price @returns {Promise<boolean>} whether it does */
  add(price) {
    return this.#send('Keep an alert line', 'Keep', 'POST', '', { symbol: this.#symbol, price });
  }

  /** Move one; drawn there at once, and back where it was if that cannot be. @param {string} id @param {string} price */
  async move(id, price) {
    if (this.#lines.get(id)?.price === price) return true;
    this.#wanted.set(id, price);
    this.does.changed();
    const moved = await this.#send('Move an alert line', 'Move', 'PUT', id, { price });
    if (this.#wanted.get(id) === price) this.#wanted.delete(id);
    this.does.changed();
    return moved;
  }

  /** @param {string} id @returns {Promise<boolean>} whether it is gone */
  remove(id) {
    return this.#send('Remove an alert line', 'Remove', 'DELETE', id);
  }

  /** @param {string} title @param {string} verb @param {string} method @param {string} id @param {object} [body] */
  async #send(title, verb, method, id, body) {
    const symbol = this.#symbol;
    const told = await this.admin.send(title, verb, id ? `${LINES}/${encodeURIComponent(id)}` : LINES, method, body);
    if (!told?.ok) {
      this.does.say(told ? `The daemon: ${remedy(told)}` : 'Without the admin token the lines of the daemon stay as they are.');
      return false;
    }
    this.does.say('');
    // The stream tells it too; until then it is as it was answered.
    if (told.body?.line && symbol === this.#symbol) this.put([told.body.line], false);
    return true;
  }
}

/** Why not, and what would be right. @param {import('../admin.js').Told} told */
function remedy({ words, body }) {
  const { allowed } = body?.error ?? {};
  const instead = Array.isArray(allowed) ? allowed.join(', ') : String(allowed ?? '');
  return instead ? `${words}. Right would be: ${instead}.` : `${words}.`;
}

/** How one of the daemon's lines does. @param {KeptLine} line @param {number} now ms */
export function keptWords({ state, direction, repeat, text, fired_ms, known_ms }, now) {
  const whence = { up: ' from below', down: ' from above', both: '' }[direction];
  const words = {
    watched: `watched${whence}${repeat ? ', again and again' : ''}`,
    reached: `reached ${sinceWords(fired_ms ?? now, now)}`,
    blind: `no price known${known_ms === null ? '' : ` since ${sinceWords(known_ms, now)}`}`,
  }[state];
  const last = repeat && fired_ms !== null && state === 'watched' ? `, reached ${sinceWords(fired_ms, now)}` : '';
  return `${text ? `${text}: ` : ''}${words}${last}`;
}

/** What a line is called on the chart. @param {Pick<Line, 'fired' | 'kept'>} line */
export function titleOf({ fired, kept }) {
  const words = fired === null ? 'alert' : 'reached';
  return kept ? `${kept.text || words} · daemon` : words;
}
