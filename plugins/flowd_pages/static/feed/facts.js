/**
 * The facts above a feed: whether it is live, how old its newest row is, and what it ever carried.
 *
 * @module feed/facts
 */

import { byId } from '../dom.js';
import { NOTHING, count, money, short, stamp } from '../format.js';
import { age } from './forms.js';
import { Outages, pulse } from './pulse.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */

/** How often the age is looked at. */
const AGE_EVERY_MS = 250;

export class Facts {
  /** Whether the stream is there; null while nobody said. @type {boolean | null} */
  there = null;
  #badge = byId('pulse');
  #age = byId('age');

  /**
   * @param {FlowdClient} client
   * @param {string} stream
   * @param {() => number | null} newestMs when the newest record was appended
   */
  constructor(client, stream, newestMs) {
    this.client = client;
    this.newestMs = newestMs;
    this.outages = new Outages(stream);
    client.follow('outages', { filter: { component: stream } }, {
      records: (records, { first }) => {
        this.outages.put(records, first);
        this.show();
      },
    });
    client.follow(`${stream}.totals`, {}, {
      records: (records) => this.#total(records.at(-1)?.value),
      error: () => this.#total(undefined),
    });
    client.addEventListener('status', () => this.show());
    setInterval(() => this.#tick(), AGE_EVERY_MS);
    this.show();
  }

  /** The stream was heard of, or it is not there. @param {boolean} there */
  know(there) {
    if (there === this.there) return;
    this.there = there;
    this.show();
  }

  show() {
    const { state, text, why } = pulse({
      connected: this.client.status !== 'disconnected',
      was: this.client.seenAt !== null,
      outages: this.outages,
      there: this.there,
    });
    this.#badge.dataset.state = state;
    this.#badge.title = why;
    write(/** @type {HTMLElement} */ (this.#badge.querySelector('.pulse-text')), text);
    const words = byId('pulse-why');
    write(words, state === 'offline' ? why : '');
    words.title = why;
    this.#tick();
  }

  #tick() {
    const newest = this.newestMs();
    const { text, late } = age(newest === null ? null : Math.max(0, this.client.now() - newest));
    write(this.#age, text);
    this.#age.classList.toggle('late', late);
  }

  /** @param {any} total undefined when there is none */
  #total(total) {
    const [volume, number, since] = [byId('total-volume'), byId('total-count'), byId('total-since')];
    write(volume, total ? `$${short(total.volume)}` : NOTHING);
    volume.title = total ? money(total.volume) : '';
    write(number, total ? count(total.count) : NOTHING);
    write(since, total ? `since ${stamp(total.since_ms)}` : '');
  }
}

/** Touch the page only when there is something to say. @param {HTMLElement} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
