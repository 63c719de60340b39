/**
 * The facts above a feed: how old its newest row is, what its records sum up to, since when, and how exactly.
 *
 * @module feed/facts
 */

import { byId } from '../dom.js';
import { NOTHING, count, dollars, money } from '../format.js';
import { exactness, since } from '../words.js';
import { age } from './forms.js';
import { Outages, writers } from './pulse.js';
import { Sums, together } from './sums.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

/** How often the age is looked at. */
const AGE_EVERY_MS = 250;

export class Facts {
  #age = byId('age');
  /** @type {Map<string, Sums>} by stream */
  #sums = new Map();
  /** @type {Map<string, any>} by stream, what the daemon sums up itself */
  #totals = new Map();
  /** @type {Map<string, Outages>} by component */
  #outages = new Map();
  /** Outages from which not all was recovered, by key. @type {Map<string, {component: string, to: number}>} */
  #gaps = new Map();

  /**
   * @param {FlowdClient} client
   * @param {string[]} streams
   * @param {boolean} liquidations of which the daemon has totals that count each once
   * @param {() => number | null} newestMs when the newest record was appended
   * @param {(why: string | null) => void} silent the source delivers nothing, or does again
   */
  constructor(client, streams, liquidations, newestMs, silent) {
    this.client = client;
    this.newestMs = newestMs;
    this.silent = silent;
    for (const stream of streams) {
      this.#sums.set(stream, new Sums(liquidations));
      for (const component of writers(stream)) this.#outages.set(component, new Outages(component));
      if (!liquidations) continue;
      client.follow(`${stream}.totals`, {}, {
        records: (records) => {
          this.#totals.set(stream, records.at(-1)?.value);
          this.#write();
        },
        error: () => undefined,
      });
    }
    client.follow('outages', {}, {
      records: (records, { first }) => {
        for (const outages of this.#outages.values()) outages.put(records, first);
        this.#miss(records, first);
        this.silent(this.why);
        this.#write();
      },
    });
    setInterval(() => this.#tick(), AGE_EVERY_MS);
  }

  /** Why nothing is delivered, null when it is. @returns {string | null} */
  get why() {
    for (const { reason } of this.#outages.values()) if (reason !== null) return reason;
    return null;
  }

  /** @param {string} stream @param {FlowdRecord[]} records @param {boolean} first whether they replace all before */
  put(stream, records, first) {
    this.#sums.get(stream)?.put(records, first);
  }

  /** Records of a stream are missing. @param {string} stream */
  miss(stream) {
    this.#sums.get(stream)?.miss();
  }

  /** Nothing is known of it, as the stream is not there. @param {string} stream */
  forget(stream) {
    this.#sums.delete(stream);
    this.#write();
  }

  /** Write what came; called once a frame. */
  show() {
    this.#write();
  }

  /** @param {FlowdRecord[]} records @param {boolean} first */
  #miss(records, first) {
    if (first) this.#gaps.clear();
    for (const { key, seq, value } of records) {
      const name = key ?? String(seq);
      if (value.recovered !== null && value.recovered !== undefined) this.#gaps.delete(name);
      else this.#gaps.set(name, { component: value.component, to: value.to_ms ?? Infinity });
    }
  }

  /** Whether something may be missing of what came since then. @param {number | null} since */
  #incomplete(since) {
    const own = new Set([...this.#sums.keys()].flatMap(writers));
    return [...this.#gaps.values()].some(({ component, to }) => own.has(component) && since !== null && to > since);
  }

  #tick() {
    const newest = this.newestMs();
    const { text, late } = age(newest === null ? null : Math.max(0, this.client.now() - newest));
    write(this.#age, text);
    this.#age.classList.toggle('late', late);
  }

  #write() {
    const sum = together(this.#sums.values());
    const whole = [...this.#sums.keys()].map((stream) => this.#totals.get(stream));
    if (whole.length === 1 && whole[0]) Object.assign(sum, { volume: whole[0].volume, count: whole[0].count, since: whole[0].since_ms });
    const known = sum.count > 0 || whole.some(Boolean);
    if (this.#incomplete(sum.since)) sum.doubts.incomplete = true;
    const { sign, words, why, exact } = exactness(sum.doubts);
    const volume = byId('total-volume');
    write(volume, known ? `${sign && `${sign} `}${dollars(sum.volume)}` : NOTHING);
    volume.title = known ? money(sum.volume) : '';
    write(byId('total-count'), known ? `${sign.includes('≥') ? '≥ ' : ''}${count(sum.count)}` : NOTHING);
    write(byId('total-since'), known ? since(sum.since, this.client.now()) : '');
    byId('doubt').hidden = !known || exact;
    write(byId('doubt'), words);
    write(byId('doubt-why'), known ? why : '');
  }
}

/** Touch the page only when there is something to say. @param {HTMLElement} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
