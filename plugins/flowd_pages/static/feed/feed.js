/**
 * The pages `/all-fills` and `/liquidations`: a feed's newest rows, pushed, and drawn at most once per frame.
 *
 * @module feed/feed
 */

import { byId, fill, h } from '../dom.js';
import { FlowdClient } from '../flowd-client.js';
import { count } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { Fitting, columnsOf } from './columns.js';
import { Holding, filters } from './controls.js';
import { Facts, write } from './facts.js';
import { NEWEST, heads, legend, sortFrom, sortTo } from './heads.js';
import { folding, keys } from './keys.js';
import { Large } from './large.js';
import { Feed, ROWS_MAX } from './model.js';
import { Table, missing } from './table.js';
import { notConfigured, refused, sourceLines, words } from './words.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */
/** @typedef {import('./heads.js').Sort} Sort */

/** How long a notice stays. */
const NOTICE_MS = 10_000;

/** While rows are in another order than that of their times, they are put in order no more often. */
const SETTLE_MS = 250;

const { dataset } = document.documentElement;
const parts = (/** @type {string | undefined} */ text) => (text ?? '').split(' ').filter(Boolean);

class FeedPage {
  name = dataset.page ?? 'all-fills';
  streams = parts(dataset.stream);
  client = new FlowdClient();
  feed = new Feed();
  /** How many frames were drawn, and how many records came. */
  frames = 0;
  records = 0;

  #says = words(this.name);
  #fitting = new Fitting(columnsOf(this.name, parts(dataset.record)));
  #table;
  #holding = new Holding((held) => this.#held(held));
  #large = new Large(() => {
    this.feed.generation++;
    this.draw();
  });
  #facts;
  #clear;
  #drawing = false;
  #settled = 0;
  /** @type {Sort} */
  #sort = NEWEST;
  /** The streams that were heard of. @type {Set<string>} */
  #loaded = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #noticed;
  #empty = byId('feed-empty');
  #state = '';

  constructor() {
    themeButton();
    const badge = connectionBadge(this.client);
    const draw = () => this.draw();
    this.#table = new Table(byId('grid'), byId('head'), byId('rows'), this.#fitting.columns, this.feed, draw, this.#large);
    this.#facts = new Facts(this.client, this.streams, this.name === 'liquidations', () => this.feed.newestMs, (why) => {
      badge.silent(why);
      write(byId('silent'), why === null ? '' : `Source down: ${why}`);
    });
    this.#order(sortFrom(location.search));
    this.#clear = filters(this.name, (filter) => this.#choose(filter));
    keys(this.#table, this.#holding, { draw, resume: () => this.resume() });
    folding(this.#table, (row) => this.feed.toggle(row), () => this.draw(true));
    byId('pause').addEventListener('click', () => (this.#holding.held ? this.resume() : this.#holding.set('key', true)));
    byId('waiting').addEventListener('click', () => this.resume());
    this.client.addEventListener('status', draw);
    window.addEventListener('popstate', () => this.#order(sortFrom(location.search)));
    for (const stream of this.streams) this.#follow(stream);
  }

  /** Show the newest, and go on. */
  resume() {
    this.#table.home();
    this.#holding.release();
    this.draw();
  }

  /** Draw with the next frame, once. @param {boolean} [soon] also if that puts rows in another order once more */
  draw(soon = false) {
    if (soon) this.#settled = 0;
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame((now) => {
      this.#drawing = false;
      this.frames++;
      this.#settle(now);
      this.#table.draw(performance.now());
      this.#count();
    });
  }

  /** @param {number} now */
  #settle(now) {
    const { feed } = this;
    if (!feed.stale) return;
    const early = feed.sorted ? this.#settled + SETTLE_MS - now : 0;
    if (early > 0) {
      setTimeout(() => this.draw(), early);
      return;
    }
    feed.settle();
    this.#settled = now;
  }

  /** @param {string} stream */
  #follow(stream) {
    this.client.follow(stream, { limit: ROWS_MAX }, {
      records: (records, { first }) => {
        const now = performance.now();
        this.#loaded.add(stream);
        this.records += records.length;
        if (first) this.#table.active = -1;
        const came = this.feed.put(records, first, this.client.now(), now, stream);
        this.#facts.put(stream, records, first);
        this.#large.came(came, now);
        if (this.#fitting.see(came)) {
          this.#table.use(this.#fitting.columns);
          this.#heads();
        }
        this.draw(first);
      },
      gap: ({ first, last }) => {
        this.feed.hole(last - first + 1, performance.now(), stream);
        this.#facts.miss(stream);
        this.#notice(`${missing(last - first + 1).replace(' here', '')}: we were away for longer than the daemon remembers.`);
        this.draw();
      },
      reset: () => this.#notice('The daemon lost its past: the rows begin anew.'),
      slow: (behind) => this.#notice(`This page cannot keep up: it was ${count(behind)} rows behind.`),
      error: (mistake) => this.#refused(stream, mistake),
    });
  }

  /** @param {import('./filter.js').Filter} filter */
  #choose(filter) {
    this.#table.home();
    this.feed.choose(filter);
    this.draw(true);
  }

  /** In which order the rows are. @param {Sort} sort */
  #order(sort) {
    const column = this.#fitting.columns.find(({ name, key }) => key && name === sort.name);
    this.#sort = column ? sort : NEWEST;
    const newest = this.#sort.name === NEWEST.name && this.#sort.order === NEWEST.order;
    this.feed.order(newest || !column?.key ? null : { key: column.key, order: sort.order });
    this.#heads();
    this.#table.home();
    this.draw(true);
  }

  #heads() {
    heads(byId('head'), this.#fitting.columns, this.#sort, (sort) => {
      this.#order(sort);
      history.replaceState(history.state, '', `${location.pathname}${sortTo(this.#sort, location.search)}${location.hash}`);
    });
    legend(byId('signs-list'), this.#fitting.columns);
    byId('grid').style.setProperty('--columns', this.#fitting.columns.map(({ width }) => width).join(' '));
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
    const loaded = this.#loaded.size > 0;
    const all = feed.matching === feed.rows;
    write(byId('row-count'), loaded ? (all ? count(feed.rows) : `${count(feed.matching)} of ${count(feed.rows)}`) : '–');
    const waiting = byId('waiting');
    waiting.classList.toggle('off', feed.waiting === 0);
    write(waiting, feed.waiting === 0 ? '' : `${count(feed.waiting)} new ${feed.waiting === 1 ? 'row' : 'rows'} ↑`);
    write(byId('pause-why'), feed.held ? this.#holding.words : '');
    if (loaded) this.#facts.show();
    this.#show(loaded ? (feed.size > 0 ? 'rows' : feed.rows > 0 ? 'filtered' : 'empty') : 'loading');
  }

  /** Which of its faces the table shows. @param {'rows' | 'filtered' | 'empty' | 'loading'} state */
  #show(state) {
    // What was refused stays so until there is something else to say.
    if (state === this.#state || (this.#state === 'refused' && this.#loaded.size === 0)) return;
    this.#state = state;
    byId('ghosts').hidden = state !== 'loading';
    this.#empty.hidden = state === 'rows' || state === 'loading';
    if (state === 'empty') fill(this.#empty, h('strong', {}, this.#says.empty), h('span', {}, this.#says.soon));
    if (state === 'filtered') {
      const clear = h('button', { class: 'text-button', type: 'button' }, 'Clear the filters');
      clear.addEventListener('click', () => this.#clear());
      fill(this.#empty, h('strong', {}, 'Nothing matches'), h('span', {}, `None of the ${count(this.feed.rows)} ${this.#says.many} here. New ones that match will appear.`), clear);
    }
  }

  /** @param {string} stream @param {Mistake} mistake */
  #refused(stream, mistake) {
    const unknown = mistake.code === 'UNKNOWN_STREAM';
    const key = this.name === 'liquidations' ? 'liquidations' : 'fills';
    this.#loaded.delete(stream);
    this.#facts.forget(stream);
    if (this.#loaded.size > 0) return;
    this.feed.clear();
    this.#state = 'refused';
    byId('ghosts').hidden = true;
    this.#empty.hidden = false;
    fill(this.#empty, ...(unknown ? notConfigured(stream, sourceLines(this.name, stream), key, mistake) : refused(mistake)));
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
