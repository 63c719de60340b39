/**
 * The pages `/all-fills` and `/liquidations`: a feed's newest rows, pushed, and drawn at most once per frame.
 *
 * @module feed/feed
 */

import { byId, fill, h } from '../dom.js';
import { FlowdClient } from '../flowd-client.js';
import { count } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { COLUMNS } from './columns.js';
import { Holding, filters } from './controls.js';
import { Facts, write } from './facts.js';
import { keys } from './keys.js';
import { Feed, ROWS_MAX } from './model.js';
import { Table, missing } from './table.js';
import { notConfigured, refused, sourceLines, words } from './words.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */

/** How long a notice stays. */
const NOTICE_MS = 10_000;

const { dataset } = document.documentElement;

class FeedPage {
  name = dataset.page ?? 'all-fills';
  stream = dataset.stream ?? this.name;
  client = new FlowdClient();
  feed = new Feed();
  /** How many frames were drawn, and how many records came. */
  frames = 0;
  records = 0;

  #says = words(this.name);
  #table;
  #holding = new Holding((held) => this.#held(held));
  #facts;
  #clear;
  #drawing = false;
  #loaded = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #noticed;
  #empty = byId('feed-empty');
  #state = '';

  constructor() {
    themeButton();
    connectionBadge(this.client);
    const draw = () => this.draw();
    this.#table = new Table(byId('grid'), byId('head'), byId('rows'), COLUMNS[this.name], this.feed, draw);
    this.#facts = new Facts(this.client, this.stream, () => this.feed.newestMs);
    this.#clear = filters((filter) => this.#choose(filter));
    keys(this.#table, this.#holding, { draw, resume: () => this.resume() });
    byId('pause').addEventListener('click', () => (this.#holding.held ? this.resume() : this.#holding.set('key', true)));
    byId('waiting').addEventListener('click', () => this.resume());
    this.client.addEventListener('status', draw);
    this.#follow();
  }

  /** Show the newest, and go on. */
  resume() {
    this.#table.home();
    this.#holding.release();
    this.draw();
  }

  /** Draw with the next frame, once. */
  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.frames++;
      this.#table.draw(performance.now());
      this.#count();
    });
  }

  #follow() {
    this.client.follow(this.stream, { limit: ROWS_MAX }, {
      records: (records, { first }) => {
        this.#loaded = true;
        this.records += records.length;
        this.#facts.know(true);
        if (first) this.#table.active = -1;
        this.feed.put(records, first, this.client.now(), performance.now());
        this.draw();
      },
      gap: ({ first, last }) => {
        this.feed.hole(last - first + 1, performance.now());
        this.#notice(`${missing(last - first + 1).replace(' here', '')}: we were away for longer than the daemon remembers.`);
        this.draw();
      },
      reset: () => this.#notice('The daemon lost its past: the rows begin anew.'),
      slow: (behind) => this.#notice(`This page cannot keep up: it was ${count(behind)} rows behind.`),
      error: (mistake) => this.#refused(mistake),
    });
  }

  /** @param {import('./filter.js').Filter} filter */
  #choose(filter) {
    this.#table.home();
    this.feed.choose(filter);
    this.draw();
  }

  /** @param {boolean} held */
  #held(held) {
    this.feed.hold(held);
    const button = byId('pause');
    button.setAttribute('aria-pressed', String(held));
    write(byId('pause-text'), held ? 'Resume' : 'Pause');
    write(byId('spoken'), held ? this.#holding.words : 'Live again');
    this.draw();
  }

  #count() {
    const { feed } = this;
    const all = feed.matching === feed.fills;
    write(byId('row-count'), this.#loaded ? (all ? count(feed.fills) : `${count(feed.matching)} of ${count(feed.fills)}`) : '–');
    const waiting = byId('waiting');
    waiting.classList.toggle('off', feed.waiting === 0);
    write(waiting, feed.waiting === 0 ? '' : `${count(feed.waiting)} new ${feed.waiting === 1 ? 'row' : 'rows'} ↑`);
    write(byId('pause-why'), feed.held ? this.#holding.words : '');
    this.#show(this.#loaded ? (feed.matching > 0 ? 'rows' : feed.fills > 0 ? 'filtered' : 'empty') : 'loading');
  }

  /** Which of its faces the table shows. @param {'rows' | 'filtered' | 'empty' | 'loading'} state */
  #show(state) {
    // What was refused stays so until there is something else to say.
    if (state === this.#state || (this.#state === 'refused' && !this.#loaded)) return;
    this.#state = state;
    byId('ghosts').hidden = state !== 'loading';
    this.#empty.hidden = state === 'rows' || state === 'loading';
    if (state === 'empty') fill(this.#empty, h('strong', {}, this.#says.empty), h('span', {}, this.#says.soon));
    if (state === 'filtered') {
      const clear = h('button', { class: 'text-button', type: 'button' }, 'Clear the filters');
      clear.addEventListener('click', () => this.#clear());
      fill(this.#empty, h('strong', {}, 'Nothing matches'), h('span', {}, `None of the ${count(this.feed.fills)} ${this.#says.many} here. New ones that match will appear.`), clear);
    }
  }

  /** @param {Mistake} mistake */
  #refused(mistake) {
    const unknown = mistake.code === 'UNKNOWN_STREAM';
    const key = this.name === 'liquidations' ? 'liquidations' : 'fills';
    this.#facts.know(!unknown);
    this.feed.clear();
    this.#loaded = false;
    this.#state = 'refused';
    byId('ghosts').hidden = true;
    this.#empty.hidden = false;
    fill(this.#empty, ...(unknown ? notConfigured(this.stream, sourceLines(this.name, this.stream), key, mistake) : refused(mistake)));
    this.draw();
  }

  /** Say something for a while. @param {string} text */
  #notice(text) {
    const notice = byId('notice');
    fill(notice, text);
    notice.hidden = false;
    clearTimeout(this.#noticed);
    this.#noticed = setTimeout(() => (notice.hidden = true), NOTICE_MS);
  }
}

Object.assign(window, { flowdFeed: new FeedPage() });
