/**
 * The page `/traders`: the leaderboard, and what traders do now. All is pushed, and drawn at most once per frame.
 *
 * @module traders/traders
 */

import { at, byId, fill, h } from '../dom.js';
import { write } from '../feed/facts.js';
import { rowKeys } from '../feed/keys.js';
import { Table } from '../feed/table.js';
import { notConfigured, refused } from '../feed/words.js';
import { FlowdClient } from '../flowd-client.js';
import { NOTHING, count, span, stamp } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { Board } from './board.js';
import { columns, evidenceLegend } from './columns.js';
import { controls } from './controls.js';
import { EventList, Newest } from './events.js';
import { isAll } from './view.js';
import { missingLines } from './words.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */

/** How many events the list holds. */
const EVENTS = 60;
/** While many rows come, they are put in order no more often. */
const SETTLE_MS = 250;
const TICK_MS = 1_000;
/** How long ago something was is written anew. */
const AGES_MS = 15_000;

const { dataset } = document.documentElement;
const NAMES = { traders: dataset.found ?? 'traders', positions: dataset.positions ?? 'positions', leaderboard: dataset.leaderboard ?? 'leaderboard' };

class TradersPage {
  client = new FlowdClient();
  board = new Board();
  events = new Newest(EVENTS);
  /** How many frames were drawn. */
  frames = 0;

  #table;
  #controls;
  #list = new EventList(byId('events'), true);
  #drawing = false;
  #loaded = false;
  #heardEvents = false;
  #eventsDue = false;
  #settled = 0;
  #state = '';
  /** @type {any} */
  #computed = null;
  /** @type {any} */
  #round = null;

  constructor() {
    themeButton();
    connectionBadge(this.client);
    const draw = () => this.draw();
    this.#table = new Table(byId('grid'), byId('head'), byId('rows'), columns(() => this.client.now()), this.board, draw);
    this.#controls = controls(byId('head'), (view) => {
      this.board.choose(view);
      this.#table.home();
      this.draw();
    });
    rowKeys(this.#table, { draw, resume: () => this.#home(), chosen: () => undefined });
    fill(byId('evidence'), ...evidenceLegend());
    this.client.addEventListener('status', draw);
    this.#follow();
    setInterval(() => this.#facts(), TICK_MS);
    setInterval(() => {
      this.board.generation++;
      this.draw();
    }, AGES_MS);
  }

  /** Draw with the next frame, once. */
  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame((now) => {
      this.#drawing = false;
      this.frames++;
      this.#settle(now);
      this.#table.draw(performance.now());
      if (this.#eventsDue) this.#drawEvents();
      this.#count();
    });
  }

  #home() {
    this.#table.home();
    this.draw();
  }

  /** Put what came in order; the keyboard stays on its trader. @param {number} now */
  #settle(now) {
    if (!this.board.stale) return;
    const early = this.#settled + SETTLE_MS - now;
    if (early > 0) {
      setTimeout(() => this.draw(), early);
      return;
    }
    const chosen = this.board.at(this.#table.active)?.value.address;
    this.board.settle();
    this.#table.active = this.board.indexOf(chosen);
    this.#settled = now;
  }

  #follow() {
    const { leaderboard, positions } = NAMES;
    this.client.follow(leaderboard, {}, {
      records: (records, { first }) => {
        this.#loaded = true;
        this.board.put(records, first, this.client.now(), performance.now());
        this.draw();
      },
      error: (mistake) => this.#refused(mistake),
    });
    this.client.follow(`${leaderboard}.computed`, {}, {
      records: (records) => {
        this.#computed = records.at(-1)?.value ?? null;
        this.#facts();
      },
    });
    this.client.follow(positions, { limit: EVENTS }, {
      records: (records, { first }) => {
        this.#heardEvents = true;
        this.events.put(records, first, this.client.now());
        this.#eventsDue = true;
        this.draw();
      },
      error: (mistake) => this.#noEvents(mistake),
    });
    this.client.follow(`${positions}.round`, {}, {
      records: (records) => {
        this.#round = records.at(-1)?.value ?? null;
        this.#facts();
      },
    });
  }

  // -- drawing

  #facts() {
    const now = this.client.now();
    const [computed, round] = [this.#computed, this.#round];
    write(byId('fact-population'), computed ? count(computed.population) : NOTHING);
    write(byId('fact-listed'), computed ? `of ${count(computed.listed)} listed` : '');
    byId('fact-listed').title = computed && computed.unlisted > 0 ? `${count(computed.unlisted)} more are too many to be listed` : 'The others have too few completed trips';
    write(byId('fact-age'), computed ? `${span(now - computed.time_ms)} ago` : NOTHING);
    byId('fact-age').title = computed ? `${stamp(computed.time_ms)} UTC` : 'Nothing was computed yet';
    write(byId('fact-tracked'), round ? count(round.tracked) : NOTHING);
    write(byId('fact-traders'), round ? `of ${count(round.traders)} traders` : '');
    const oldest = round?.oldest_tracked_ms ?? null;
    write(byId('fact-oldest'), oldest === null ? NOTHING : `${span(now - oldest)} ago`);
    byId('fact-oldest').title = oldest === null ? 'Nobody was visited yet' : `${stamp(oldest)} UTC`;
    write(byId('fact-round'), round ? `a round takes ${span(round.round_s * 1000)}` : '');
  }

  #count() {
    const { board } = this;
    write(byId('row-count'), this.#loaded ? (isAll(board.view) ? count(board.all) : `${count(board.size)} of ${count(board.all)}`) : NOTHING);
    if (board.stale) return;
    this.#show(this.#loaded ? (board.size > 0 ? 'rows' : board.all > 0 ? 'filtered' : 'empty') : 'loading');
  }

  /** Which of its faces the table shows. @param {'rows' | 'filtered' | 'empty' | 'loading'} state */
  #show(state) {
    // What was refused stays so until there is something else to say.
    if (state === this.#state || (this.#state === 'refused' && !this.#loaded)) return;
    this.#state = state;
    byId('ghosts').hidden = state !== 'loading';
    const empty = byId('traders-empty');
    empty.hidden = state === 'rows' || state === 'loading';
    if (state === 'empty') fill(empty, h('strong', {}, 'Nobody yet'), h('span', {}, 'Traders are found as they trade, and compared every ten minutes by default. They appear here by themselves.'));
    if (state === 'filtered') {
      const clear = h('button', { class: 'text-button', type: 'button' }, 'Clear the filters');
      clear.addEventListener('click', () => this.#controls.clear());
      const typed = this.board.view.text.trim().toLowerCase();
      const whole = /^0x[0-9a-f]{40}$/.test(typed) && h('a', { href: at(`/traders/${typed}`) }, 'Look at this address anyway');
      fill(empty, h('strong', {}, 'Nothing matches'), h('span', {}, `None of the ${count(this.board.all)} traders here.`), whole, clear);
    }
  }

  #drawEvents() {
    this.#eventsDue = false;
    this.#list.show(this.events, this.client.now());
    const empty = byId('events-empty');
    empty.hidden = this.events.rows.length > 0;
    if (this.#heardEvents) fill(empty, h('strong', {}, 'No event yet'), h('span', {}, 'They appear here as they are found.'));
  }

  /** @param {Mistake} mistake */
  #refused(mistake) {
    this.board.clear();
    this.#loaded = false;
    this.#state = 'refused';
    byId('ghosts').hidden = true;
    const empty = byId('traders-empty');
    empty.hidden = false;
    fill(empty, ...(mistake.code === 'UNKNOWN_STREAM' ? notConfigured(NAMES.leaderboard, missingLines('leaderboard', NAMES, mistake), 'leaderboard', mistake) : refused(mistake)));
    this.draw();
  }

  /** @param {Mistake} mistake */
  #noEvents(mistake) {
    const empty = byId('events-empty');
    empty.hidden = false;
    fill(empty, ...(mistake.code === 'UNKNOWN_STREAM' ? notConfigured(NAMES.positions, missingLines('positions', NAMES, mistake), 'positions', mistake) : refused(mistake)));
  }
}

Object.assign(window, { flowdTraders: new TradersPage() });
