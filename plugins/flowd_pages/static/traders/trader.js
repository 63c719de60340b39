/**
 * The page of one trader: what it holds, how it went, what it did. Everything is pushed; tracking is asked to visit whom
 * somebody looks at.
 *
 * @module traders/trader
 */

import { RequestError, ask } from '../chart/data.js';
import { bodyOf, byId, fill, h } from '../dom.js';
import { dollars } from '../analytics/model.js';
import { write } from '../feed/facts.js';
import { profit } from '../feed/forms.js';
import { accountLines, refused } from '../feed/words.js';
import { FlowdClient } from '../flowd-client.js';
import { NOTHING, clock, count, moment, money, span, stamp } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { adding } from '../words.js';
import { STALE_MS, byCoin, samples, unrealized } from './account.js';
import { EquityCurve } from './equity.js';
import { EventChart } from './eventchart.js';
import { EventList, Newest } from './events.js';
import { signed } from './figures.js';
import { coinRow, fillRow, positionRow, standingParts } from './rows.js';
import { API_LINES, missingLines } from './words.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */
/** @typedef {'account' | 'equity' | 'standing' | 'events' | 'fills'} Part */

const EVENTS = 100;
/** PnL by coin is summed up of at most so many, and as many as fit are listed. */
const FILLS = 2_000;
const FILLS_SHOWN = 100;
const TICK_MS = 1_000;
/** How often tracking is asked for who was never visited, and for who was. */
const ASK_MS = 2_000;
const ASK_AGAIN_MS = 60_000;

const { dataset } = document.documentElement;
const ADDRESS = dataset.address ?? '';
const FILLS_STREAM = dataset.fills ?? 'all-fills';
const NAMES = { traders: dataset.found ?? 'traders', positions: dataset.positions ?? 'positions', leaderboard: dataset.leaderboard ?? 'leaderboard' };

class TraderPage {
  client = new FlowdClient();
  events = new Newest(EVENTS);
  fills = new Newest(FILLS);
  /** @type {any} */
  account = null;
  chart = new EventChart(this.client, dataset.charts ?? '');

  /** Whether tracking can be asked. */
  #askable = true;
  #curve = new EquityCurve();
  #list = new EventList(byId('events'), false);
  /** Streams that answered. @type {Set<string>} */
  #heard = new Set();
  /** @type {any} */
  #standing = null;
  /** @type {any} */
  #trader = null;
  /** @type {Set<Part>} */
  #due = new Set();

  constructor() {
    themeButton();
    connectionBadge(this.client);
    this.#follow();
    setInterval(() => {
      this.#ages();
      this.chart.tick();
    }, TICK_MS);
    this.#visit();
  }

  /** Draw these with the next frame, once. @param {...Part} parts */
  draw(...parts) {
    if (this.#due.size === 0) requestAnimationFrame(() => this.#frame());
    for (const part of parts) this.#due.add(part);
  }

  #frame() {
    const due = [...this.#due];
    this.#due.clear();
    const draws = {
      account: () => this.#drawAccount(),
      equity: () => this.#drawEquity(),
      standing: () => this.#drawStanding(),
      events: () => this.#drawEvents(),
      fills: () => this.#drawFills(),
    };
    for (const part of due) draws[part]();
    // The newest event says which coin is shown: nothing is, before they are here.
    if (this.#heard.has('events')) this.#drawChart();
    this.#ages();
  }

  /** Ask tracking to visit this address, until it was and now and then while somebody looks. */
  async #visit() {
    if (!document.hidden) {
      try {
        await ask(`/traders/${ADDRESS}`);
      } catch (error) {
        // Without an answer the banner says so; with another one than JSON there is nobody to ask.
        this.#askable = !(error instanceof RequestError) || error.status === 0 || error.status === 429 || error.status >= 500;
      }
    }
    if (this.#askable) setTimeout(() => this.#visit(), this.account ? ASK_AGAIN_MS : ASK_MS);
    this.#ages();
  }

  // -- following

  #follow() {
    const { traders, positions, leaderboard } = NAMES;
    const mine = { filter: { address: ADDRESS } };
    this.#newest(traders, (value) => (this.#trader = value), 'account');
    this.#newest(`${positions}.accounts`, (value) => (this.account = value), 'account', (mistake) => this.#none('positions', this.#lacking('positions', mistake)));
    this.#newest(`${positions}.equity`, (value) => this.#curve.show(samples(value?.points)), 'equity', (mistake) => this.#none('equity', this.#lacking('positions', mistake, true)));
    this.#newest(leaderboard, (value) => (this.#standing = value), 'standing', (mistake) => this.#none('standing', this.#lacking('leaderboard', mistake)));
    this.client.follow(positions, { ...mine, limit: EVENTS }, {
      records: (records, { first }) => {
        this.#heard.add('events');
        this.events.put(records, first, this.client.now());
        this.draw('events');
      },
      error: (mistake) => {
        for (const id of ['events', 'chart']) this.#none(id, this.#lacking('positions', mistake, true));
      },
    });
    this.client.follow(FILLS_STREAM, { ...mine, limit: FILLS }, {
      records: (records, { first }) => {
        this.#heard.add('fills');
        this.fills.put(records, first, this.client.now());
        this.draw('fills');
      },
      error: (mistake) => {
        const lines = [h('strong', {}, 'No fills'), h('span', {}, 'They are known where a stream of all fills is configured:'), h('pre', { class: 'lines' }, accountLines(FILLS_STREAM))];
        write(byId('coins-words'), 'Not known without fills.');
        this.#none('fills', mistake.code === 'UNKNOWN_STREAM' ? lines : refused(mistake));
      },
    });
  }

  /**
   * Keep what a table says of this address.
   *
   * @param {string} stream
   * @param {(value: any) => void} keep null when it says nothing
   * @param {Part} part
   * @param {(mistake: Mistake) => void} [error]
   */
  #newest(stream, keep, part, error) {
    this.client.follow(stream, { filter: { address: ADDRESS } }, {
      records: (records, { first }) => {
        this.#heard.add(part);
        if (first || records.length > 0) keep(records.at(-1)?.value ?? null);
        this.draw(part);
      },
      error,
    });
  }

  /** @param {'positions' | 'leaderboard'} wanted @param {Mistake} mistake @param {boolean} [brief] the lines stand elsewhere on the page */
  #lacking(wanted, mistake, brief = false) {
    if (mistake.code !== 'UNKNOWN_STREAM') return refused(mistake);
    const lines = missingLines(wanted, NAMES, mistake);
    return [h('strong', {}, 'Not configured'), h('span', {}, brief ? 'The lines below Positions add it.' : adding(lines)), !brief && h('pre', { class: 'lines' }, lines)];
  }

  // -- drawing

  /** Say in a panel why it is empty. @param {string} id @param {import('../dom.js').Child[]} words */
  #none(id, words) {
    byId(`${id}-empty`).hidden = false;
    fill(byId(`${id}-empty`), ...words);
  }

  #ages() {
    const now = this.client.now();
    const { account } = this;
    const tracked = this.#heard.has('account');
    const asked = this.#askable ? 'Being visited' : 'Not visited yet';
    const late = account !== null && now - account.time_ms > STALE_MS;
    write(byId('as-of'), account ? moment(account.time_ms, now) : tracked ? asked : NOTHING);
    write(byId('as-of-age'), account ? `${span(now - account.time_ms)} ago` : '');
    byId('as-of-age').classList.toggle('late', late);
    byId('as-of').title = account ? `${stamp(account.time_ms, true)} ${clock(account.time_ms)} UTC, by the venue's clock` : '';
    const note = byId('trader-note');
    note.hidden = this.#askable;
    if (!this.#askable && !note.querySelector('pre')) fill(note, 'Nobody here asks tracking to visit the address that you look at; it is visited in its turn, if it was seen to trade. These lines in flowd.toml change that:', h('pre', { class: 'lines' }, API_LINES));
  }

  #drawAccount() {
    const { account } = this;
    const now = this.client.now();
    const amounts = { 'fact-equity': account?.equity, 'fact-notional': account?.notional, 'fact-margin': account?.margin_used, 'fact-free': account?.withdrawable };
    for (const [id, amount] of Object.entries(amounts)) {
      const negative = String(amount).startsWith('-');
      write(byId(id), account ? (negative ? signed(amount) : dollars(String(amount))) : NOTHING);
      byId(id).title = account ? money(amount) : 'Unknown: it was not visited yet';
    }
    const open = account ? unrealized(account) : null;
    const pnl = byId('fact-pnl');
    write(pnl, open === null ? NOTHING : open === '0' ? '$0.00' : signed(open));
    pnl.className = `fact-value num ${open === null ? '' : profit(open).tone}`;
    const seen = this.#trader?.last_seen_ms ?? null;
    write(byId('fact-seen'), seen === null ? NOTHING : moment(seen, now));
    byId('fact-seen').title = seen === null ? 'Unknown: it was not seen to trade the coins that are followed' : `First seen ${stamp(this.#trader.first_seen_ms)} UTC`;
    const rows = account ? [...account.positions].sort((a, b) => Number(b.notional) - Number(a.notional)) : [];
    fill(bodyOf('positions-table'), ...rows.map(positionRow));
    write(byId('positions-count'), account ? count(rows.length) : '');
    if (!account) {
      if (this.#heard.has('account')) this.#none('positions', [h('strong', {}, 'Not known yet'), h('span', {}, this.#askable ? 'Tracking is asked to visit this address. What it holds appears here by itself.' : 'This address was not visited yet.')]);
      return;
    }
    byId('positions-empty').hidden = rows.length > 0;
    if (rows.length === 0) this.#none('positions', [h('strong', {}, 'Flat'), h('span', {}, 'It held no position on the main dex when it was visited last.')]);
  }

  #drawEquity() {
    byId('equity-empty').hidden = this.#curve.samples.length > 1;
    if (this.#curve.samples.length > 1) return;
    this.#none('equity', [h('strong', {}, 'No curve yet'), h('span', {}, 'It begins with the second visit.')]);
  }

  #drawStanding() {
    fill(byId('standing'), ...(this.#standing ? standingParts(this.#standing, this.client.now(), byId('standing').querySelector('details')?.open ?? false) : []));
    byId('standing-empty').hidden = this.#standing !== null;
    if (!this.#standing) this.#none('standing', [h('strong', {}, 'Not listed'), h('span', {}, 'The leaderboard lists who was seen to trade.')]);
  }

  #drawEvents() {
    this.#list.show(this.events, this.client.now());
    byId('events-empty').hidden = this.events.rows.length > 0;
    if (this.events.rows.length === 0) this.#none('events', [h('strong', {}, 'No event is remembered'), h('span', {}, 'Changes of its positions appear here as they are found.')]);
  }

  #drawChart() {
    const [events, fills] = [this.events, this.fills].map(({ rows }) => rows.map(({ value }) => value));
    this.chart.show({ events, fills, positions: this.account?.positions ?? [], visited: this.account?.time_ms ?? 0 });
  }

  #drawFills() {
    const values = this.fills.rows.map(({ value }) => value);
    const now = this.client.now();
    fill(bodyOf('fills'), ...values.slice(0, FILLS_SHOWN).map((one) => fillRow(one, now)));
    fill(bodyOf('coins'), ...byCoin(values).map(coinRow));
    write(byId('fills-count'), count(values.length));
    const oldest = values.at(-1);
    write(byId('coins-words'), oldest ? `Before fees, from the ${count(values.length)} ${values.length === 1 ? 'fill' : 'newest fills'} that this daemon remembers, since ${stamp(oldest.time_ms)}. Older ones are not in it.` : 'Not known: no fill of it is remembered.');
    byId('fills-empty').hidden = values.length > 0;
    if (values.length === 0) this.#none('fills', [h('strong', {}, 'No fill is remembered'), h('span', {}, 'They appear here as they happen.')]);
  }
}

Object.assign(window, { flowdTrader: new TraderPage() });
