/**
 * The page `/`: what was liquidated, where, how unusual that is, and what is known of it.
 *
 * @module overview/overview
 */

import { ask } from '../chart/data.js';
import { byId, fill, h, segments } from '../dom.js';
import { write } from '../feed/facts.js';
import { silence } from '../feed/pulse.js';
import { FlowdClient } from '../flowd-client.js';
import { NOTHING, count, dollars, plus, span } from '../format.js';
import { Sorting, Table } from '../rows.js';
import { connectionBadge, themeButton } from '../shell.js';
import { adding, atLeast, exactness, venueName } from '../words.js';
import { Kept, WINDOWS, againstUsual, eventOf, found, knownFrom, knownInFull, largestFirst, newestFirst, ratioOf, sumLines, totalOf, unknownMs, unnamed, widthMs } from './model.js';
import { Prices } from './prices.js';
import { amount, eventRow, moverRow, sumRow, symbolRow, venueRow } from './tables.js';

/** @typedef {import('./model.js').Event} Event */

/** How often the sums and what there is are asked for. */
const SUMS_MS = 4_000;
const STATUS_MS = 20_000;
const TAPE = 40;
const LARGEST = 12;
const SYMBOLS = 20;
const MOVERS = 12;
/** Records of each stream that the tape begins with. */
const FIRST = 60;
/** From so much on, the largest are looked for among what a stream holds; less where that is too few. */
const LEASTS = [100_000, 10_000, 0];
/** What brings prices. */
const CANDLE_LINES = '[sources.candles-5m]\nkind = "binance-candles"\ninterval = "5m"\nsymbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]\n\n[sinks.candles]\nkind = "candles"\ninputs = ["candles-5m"]';

class OverviewPage {
  client = new FlowdClient();
  window = WINDOWS.find(({ value }) => value === new URLSearchParams(location.search).get('window'))?.value ?? '1h';
  /** @type {any} what `/api/v1/liquidation-windows` says */
  sums = null;
  /** @type {ReturnType<typeof found>} */
  has = found(null, '');
  tape = new Kept(TAPE, newestFirst);
  largest = new Kept(200, largestFirst);
  /** @type {Map<string, any>} */
  outages = new Map();
  /** @type {Map<string, any>} the totals of each stream */
  totals = new Map();
  prices = new Prices([]);

  #badge = connectionBadge(this.client, undefined, () => this.draw());
  #asked = false;
  /** @type {Set<string>} */
  #followed = new Set();
  #due = false;
  #looking = false;
  #now = () => this.client.now();
  #sumTable = new Table('sums', sumRow);
  #symbols = new Table('active', symbolRow);
  #movers = new Table('movers', moverRow);
  #tape = new Table('tape', eventRow(this.#now));
  #largest = new Table('largest', eventRow(this.#now));
  #venues = new Table('venues', venueRow(this.#now));
  #bySymbol = new Sorting('active', {
    symbol: (row) => row.name ?? '',
    buy: (row) => Number(row.sum?.buy ?? 0),
    sell: (row) => Number(row.sum?.sell ?? 0),
    total: (row) => totalOf(row.sum),
    usual: (row) => ratioOf(row.sum),
  }, 'total', () => this.draw());
  #byMove = new Sorting('movers', {
    symbol: (row) => row.name ?? '',
    move: (row) => (row.move ? Math.abs(Number(row.move.now) / Number(row.move.before) - 1) : null),
    total: (row) => totalOf(row.sum),
    usual: (row) => ratioOf(row.sum),
  }, 'move', () => this.draw());

  constructor() {
    themeButton();
    segments(byId('window'), WINDOWS, this.window, (value) => this.#choose(value));
    this.client.follow('outages', {}, {
      records: (records, { first }) => {
        if (first) this.outages.clear();
        for (const { key, value } of records) this.outages.set(key ?? '', value);
        this.draw();
      },
    });
    this.client.addEventListener('status', () => this.client.status === 'connected' && this.look());
    const seen = () => document.visibilityState === 'visible' && this.client.status !== 'disconnected';
    setInterval(() => seen() && this.#look(), SUMS_MS);
    setInterval(() => seen() && this.look(), STATUS_MS);
    this.look();
  }

  /** Draw with the next frame, once. */
  draw() {
    if (!this.#due) requestAnimationFrame(() => this.#draw());
    this.#due = true;
  }

  /** @param {string} value */
  #choose(value) {
    this.window = value;
    const wanted = new URLSearchParams(location.search);
    wanted.set('window', value);
    history.replaceState(history.state, '', `${location.pathname}?${wanted}`);
    this.draw();
    this.#move();
  }

  // -- asking

  /** What there is, and then what it says. */
  async look() {
    const problem = byId('problem');
    try {
      const status = await ask('/status');
      this.has = found(status, document.documentElement.dataset.liquidations ?? '');
      problem.hidden = true;
    } catch (error) {
      problem.hidden = this.#asked;
      fill(problem, h('strong', {}, 'The daemon does not answer. '), error instanceof Error ? error.message : String(error));
      return;
    }
    this.#asked = true;
    if (this.prices.streams.join() !== this.has.candles.join()) this.prices = new Prices(this.has.candles);
    for (const feed of this.has.feeds) this.#follow(feed);
    await this.#look();
  }

  async #look() {
    if (this.#asked && this.has.windows && this.has.volume) {
      // A daemon of before has no such path; then there are no sums.
      this.sums = await ask('/api/v1/liquidation-windows', { limit: 200 }).catch(() => this.sums);
    }
    this.draw();
    await this.#move();
  }

  async #move() {
    if (this.#looking) return;
    this.#looking = true;
    const symbols = this.#rows().sort((a, b) => totalOf(b.sum) - totalOf(a.sum)).map(({ name }) => name);
    await this.prices.look(symbols, widthMs(this.window), this.#now()).finally(() => (this.#looking = false));
    this.draw();
  }

  /** @param {import('./model.js').Feed} feed */
  #follow({ name, fills }) {
    if (this.#followed.has(name)) return;
    this.#followed.add(name);
    /** @type {Record<string, string>} */
    const filter = fills ? { role: 'liquidated' } : {};
    this.client.follow(name, { filter, limit: FIRST }, {
      records: (records) => {
        for (const { value } of records) {
          const event = eventOf(value);
          if (!event) continue;
          this.tape.put(event);
          this.largest.put(event);
        }
        this.draw();
      },
    });
    this.client.follow(`${name}.totals`, {}, { records: (records) => this.totals.set(name, records.at(-1)?.value), error: () => undefined });
    this.#past(name, filter, fills);
  }

  /** The largest among what a stream holds. @param {string} name @param {Record<string, string>} filter @param {boolean} fills */
  async #past(name, filter, fills) {
    /** @param {Record<string, string | number>} query @returns {Promise<Event[] | null>} */
    const find = async (query) => {
      const answer = await ask(`/streams/${encodeURIComponent(name)}`, { ...filter, limit: 500, ...query }).catch(() => null);
      const events = answer?.records.map((/** @type {any} */ record) => eventOf(record.value)).filter(Boolean) ?? null;
      for (const event of events ?? []) this.largest.put(event);
      return events;
    };
    for (const least of LEASTS) {
      const events = await find(least ? { min_notional: least } : {});
      if (events && events.length < LARGEST) continue;
      // What one account lost in one transaction is also made of fills that are smaller than these.
      const own = this.largest.rows.filter(({ id }) => events?.some((event) => event.id === id)).slice(0, LARGEST);
      if (fills && least) await Promise.all([...new Set(own.map(({ address }) => address))].map((address) => address && find({ address })));
      break;
    }
    this.draw();
  }

  // -- drawing

  /** Each symbol's sum in the chosen window. @returns {{name: string, sum: any, move: any}[]} */
  #rows() {
    return (this.sums?.symbols ?? [])
      .map((/** @type {any} */ one) => ({ name: one.symbol, sum: one.windows[this.window], move: this.prices.moves.get(one.symbol) }))
      .filter((/** @type {any} */ row) => row.sum?.count > 0);
  }

  #draw() {
    this.#due = false;
    if (!this.#asked) return;
    this.#badge.silent(silence(this.outages.values(), this.has.feeds.map(({ name }) => name)));
    this.#drawFacts();
    this.#drawSums();
    const rows = this.#rows();
    this.#symbols.show(this.#bySymbol.of(rows).slice(0, SYMBOLS));
    this.#movers.show(this.#byMove.of(rows.filter(({ move, sum }) => move || ratioOf(sum) !== null)).slice(0, MOVERS));
    const start = this.#now() - widthMs(this.window);
    const largest = this.largest.rows.filter((event) => event.time_ms >= start).slice(0, LARGEST);
    this.#largest.show(largest, (event) => event.id);
    this.#tape.show(this.tape.rows, (event) => event.id);
    this.#drawVenues();
    const held = this.has.feeds.map(({ venue, records }) => `${count(records)} of ${venue}`).join(', ');
    write(byId('largest-of'), held ? `Among what the streams still hold: the newest ${held}. A row is one order, whose price is the average (≈) of its fills.` : '');
    const quiet = this.sums ? [h('strong', {}, 'Quiet'), h('span', {}, `No forced order in this window${this.sums.since_ms ? ', as far as it is known' : ' yet'}.`)] : [];
    said('active', rows.length === 0, ...(this.sums ? quiet : lacking(this.has)));
    said('movers', rows.length > 0 && this.#movers.body.children.length === 0, ...noMovers(this.has));
    said('largest', largest.length === 0, ...(this.has.feeds.length ? [h('strong', {}, 'Quiet'), h('span', {}, 'No forced order in this window.')] : lacking(this.has)));
    said('tape', this.tape.rows.length === 0, h('strong', {}, 'Quiet'), h('span', {}, 'Forced orders appear here as they happen.'));
  }

  /** @param {string} window */
  #sum(window) {
    return (this.sums?.windows ?? []).find((/** @type {any} */ one) => one.window === window);
  }

  /** The feeds that a sum is made of: those of its venues. @param {any} sum */
  #summed(sum) {
    const venues = Object.keys(sum.venues ?? {}).map(venueName);
    return this.has.feeds.filter(({ venue }) => venues.length === 0 || venues.includes(venue));
  }

  /** Since when a window is known, and how much of it is not. @param {any} sum */
  #known(sum) {
    const streams = this.#summed(sum).map(({ name }) => name);
    const end = this.sums.time_ms;
    const from = this.sums.since_ms;
    const lost = unknownMs(this.#badge.way.with(this.outages.values(), streams), streams, Math.max(sum.start_ms, from ?? end), end);
    const begins = knownInFull(from, Object.keys(sum.venues ?? {}).map((venue) => this.#venueFrom(venue)), sum.start_ms, end, this.sums.filling);
    return lost >= 1000 ? `${begins}, but for ${span(lost)}` : begins;
  }

  #drawFacts() {
    const sum = this.#sum(this.window);
    const sign = sum ? exactness(sum).sign : '';
    amount(byId('fact-total'), sum && plus(sum.buy, sum.sell), sign);
    write(byId('fact-since'), sum ? this.#known(sum) : '');
    amount(byId('fact-shorts'), sum?.buy, sign);
    amount(byId('fact-longs'), sum?.sell, sign);
    const total = totalOf(sum);
    const share = (/** @type {any} */ part) => (total > 0 ? `${Math.round((Number(part) / total) * 100)}%` : '');
    write(byId('share-shorts'), sum ? share(sum.buy) : '');
    write(byId('share-longs'), sum ? share(sum.sell) : '');
    write(byId('fact-orders'), sum ? atLeast(sum) + count(sum.count) : NOTHING);
    write(byId('fact-usual'), againstUsual(sum) || NOTHING);
    write(byId('usual-over'), sum?.usual ? `of ${dollars(sum.usual)}, over ${span(sum.usual_over_ms)} before` : sum ? 'not known yet' : '');
  }

  #drawSums() {
    const rows = (this.sums?.windows ?? []).flatMap((/** @type {any} */ sum) => {
      const venues = Object.entries(sum.venues ?? {});
      const rest = venues.length > 0 ? unnamed(sum) : null;
      const all = { name: sum.window, label: sum.window, venue: false, sum, known: this.#known(sum) };
      // One venue alone would say the same twice.
      const parts = venues.map(([venue, part]) => ({ name: `${sum.window} ${venue}`, label: venueName(venue), venue: true, sum: part, known: this.#venueKnown(venue, sum) }));
      if (rest) parts.push({ name: `${sum.window} ?`, label: 'Venue not known', venue: true, sum: rest, known: 'filled in without venues' });
      return [all, ...(parts.length > 1 ? parts : [])];
    });
    this.#sumTable.show(rows);
    said('sums', rows.length === 0, ...lacking(this.has));
    const sum = this.#sum('24h') ?? this.#sum(this.window);
    const doubts = sum ? exactness(sum) : null;
    const venues = Object.keys(sum?.venues ?? {}).map(venueName).join(', ');
    const others = sum?.count ? this.has.feeds.filter((feed) => !this.#summed(sum).includes(feed)).map(({ venue }) => venue) : [];
    const words = [venues && `${venues}.`, doubts && !doubts.exact ? doubts.why : '', others.length > 0 && `Not among these sums: ${others.join(', ')}.`, 'Shorts are closed by buying, longs by selling.'];
    write(byId('sums-words'), sum ? words.filter(Boolean).join(' ') : '');
  }

  /** @param {string} venue */
  #venueFrom(venue) {
    return this.sums.venues.find((/** @type {any} */ one) => one.venue === venue)?.since_ms ?? null;
  }

  /** @param {string} venue @param {any} sum */
  #venueKnown(venue, sum) {
    const from = this.#venueFrom(venue);
    return from === null ? '' : knownFrom(from, sum.start_ms, this.sums.time_ms);
  }

  #drawVenues() {
    const now = this.#now();
    const day = now - widthMs('24h');
    const outages = this.#badge.way.with(this.outages.values(), this.has.feeds.map(({ name }) => name));
    const rows = this.has.feeds.map(({ name, venue, fills }) => {
      const total = this.totals.get(name);
      const open = outages.find((outage) => outage.component === name && outage.to_ms === null);
      const event = this.tape.rows.find((one) => one.venue === venue);
      const lost = unknownMs(outages, [name], day, now);
      const from = total?.since_ms ?? this.sums?.venues.find((/** @type {any} */ one) => venueName(one.venue) === venue)?.since_ms ?? null;
      const tells = { Binance: 'at most one order per symbol and second: sums are lower bounds', Bybit: 'all, at the bankruptcy price: sums are approximate', OKX: 'not all: sums are lower bounds' }[venue] ?? (fills ? 'all, at what was paid' : '');
      return { name, venue, since_ms: from, down: open?.from_ms ?? null, tells: tells || (event?.approximate ? 'approximate' : ''), lost: lost >= 1000 ? `${span(lost)} of the last 24 h are lost` : 'nothing lost in 24 h' };
    });
    this.#venues.show(rows);
    said('venues', rows.length === 0, h('strong', {}, 'No source of liquidations'), h('span', {}, 'The lines below add some.'));
    const more = /** @type {HTMLDetailsElement} */ (byId('more'));
    more.hidden = this.has.missing.length === 0;
    const words = `Lines that add ${this.has.missing.map(({ venue }) => venue).join(', ')}`;
    if (more.dataset.words === words) return;
    more.dataset.words = words;
    const lines = this.has.missing.map((one) => one.lines).join('\n\n');
    fill(more, h('summary', {}, words), h('p', {}, adding(lines, 'them')), h('pre', { class: 'lines', tabindex: 0 }, lines));
  }
}

/** Say in a panel why it is empty, or nothing. @param {string} id @param {boolean} empty @param {...import('../dom.js').Child} words */
function said(id, empty, ...words) {
  const place = byId(`${id}-empty`);
  if (empty && place.hidden) fill(place, ...words);
  place.hidden = !empty;
}

/** Why there are no sums, and which lines add them. @param {ReturnType<typeof found>} has */
function lacking(has) {
  const lines = sumLines(has);
  return lines ? [h('strong', {}, 'Not configured'), h('span', {}, adding(lines)), h('pre', { class: 'lines', tabindex: 0 }, lines)] : [h('strong', {}, 'Not known yet'), h('span', {}, 'The daemon has not answered.')];
}

/** Why nothing moves. @param {ReturnType<typeof found>} has */
function noMovers(has) {
  return has.candles.length
    ? [h('strong', {}, 'Not known yet'), h('span', {}, 'None of these symbols has candles that reach back so far, or a usual to compare with.')]
    : [h('strong', {}, 'No prices'), h('span', {}, adding(CANDLE_LINES, 'them')), h('pre', { class: 'lines', tabindex: 0 }, CANDLE_LINES)];
}

Object.assign(window, { flowdOverview: new OverviewPage() });
