/**
 * The page `/operate`: how the daemon and each of its parts do.
 *
 * @module operate/operate
 */

import { ask } from '../chart/data.js';
import { byId, fill, h } from '../dom.js';
import { write } from '../feed/facts.js';
import { FlowdClient } from '../flowd-client.js';
import { NOTHING, count, moment, rate, span } from '../format.js';
import { Table } from '../rows.js';
import { connectionBadge, themeButton } from '../shell.js';
import { Reconnect } from './reconnect.js';
import { budgetRow, componentRow, gapRow, peerRow, processRow, spark, streamRow } from './rows.js';
import { bytes, fateOf, placeOf, verdictOf } from './words.js';

/** How often the daemon is asked. */
const EVERY_MS = 2_000;
/** Outages that are shown. */
const GAPS = 50;

class OperatePage {
  client = new FlowdClient();
  /** @type {any} */
  status = null;
  #reconnect = new Reconnect();
  #components = new Table('components', componentRow((name) => this.#reconnect.of(name)));
  #streams = new Table('streams', streamRow);
  #budgets = new Table('budgets', budgetRow);
  #gaps = new Table('gaps', gapRow);
  #processes = new Table('processes', processRow);
  #peers = new Table('peers', peerRow);
  #rate = spark('records per second');
  #memory = spark('memory in MiB');
  /** @type {Map<string, any>} */
  #outages = new Map();
  #heard = false;
  /** @type {import('../way.js').Way} */
  #way;

  constructor() {
    themeButton();
    this.#way = connectionBadge(this.client, undefined, () => this.#drawGaps()).way;
    byId('rate').after(this.#rate.picture);
    byId('memory').after(this.#memory.picture);
    this.client.follow('outages', { limit: GAPS }, {
      records: (records, { first }) => {
        if (first) this.#outages.clear();
        this.#heard = true;
        for (const { key, value } of records) this.#outages.set(key ?? '', value);
        this.#drawGaps();
      },
    });
    this.client.addEventListener('status', () => {
      if (this.client.status === 'disconnected') this.#offline();
      else this.look();
    });
    setInterval(() => document.visibilityState === 'visible' && this.client.status !== 'disconnected' && this.look(), EVERY_MS);
    this.look();
  }

  async look() {
    const first = this.status === null;
    try {
      this.status = await ask('/status');
    } catch (error) {
      if (this.status) {
        this.#offline();
        return;
      }
      const problem = byId('problem');
      problem.hidden = false;
      fill(problem, h('strong', {}, 'The daemon does not answer. '), error instanceof Error ? error.message : String(error));
      return;
    }
    byId('problem').hidden = true;
    this.#draw();
    // What was not drawn yet had no height, so the browser looked for the place too early.
    if (first && location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }

  /** What was true is not known to be. */
  #offline() {
    if (!this.status) return;
    health('waiting', '◌', 'Not known: no connection');
  }

  #draw() {
    const { components, streams, clients, snapshot, memory, limits, loop } = this.status;
    health(this.status.healthy ? 'good' : 'waiting', this.status.healthy ? '●' : '◐', verdictOf(this.status));
    write(byId('uptime'), span(this.status.uptime_s * 1000));
    // Sources only: what transforms make of it would be counted twice.
    const sources = components.filter((/** @type {any} */ part) => part.table === 'sources');
    const together = sources.reduce((/** @type {number} */ total, /** @type {any} */ part) => total + part.rate_per_s, 0);
    write(byId('rate'), rate(together));
    this.#rate.put(together);
    write(byId('clients'), count(clients.live));
    write(byId('slow'), clients.behind > 0 ? `${count(clients.behind)} behind` : 'none behind');
    write(byId('memory'), memory.rss_bytes ? bytes(memory.rss_bytes) : NOTHING);
    this.#memory.put(memory.rss_bytes / 2 ** 20);
    write(byId('saved'), snapshot.path ? ago(snapshot.saved_ago_ms, 'not yet') : 'nowhere');
    write(byId('journal'), snapshot.path ? (snapshot.journal_error ? 'not written' : ago(snapshot.journal_ago_ms, NOTHING)) : 'none');
    write(byId('version'), this.status.version);
    this.#components.show(components);
    // A name with a slash is a component's own table, which nobody else can read.
    this.#streams.show(streams.filter((/** @type {any} */ stream) => !stream.name.includes('/')));
    const { processes = [], peers = [], time_ms } = this.status;
    byId('processes-panel').hidden = processes.length === 0;
    this.#processes.show(processes);
    byId('peers-panel').hidden = peers.length === 0;
    this.#peers.show(peers.map((/** @type {any} */ peer) => ({ ...peer, name: peer.id, now_ms: time_ms })));
    if (peers.length > 0) write(byId('place'), placeOf(this.status));
    const budgets = Object.entries(this.status.budgets).map(([name, budget]) => ({ name, ...budget }));
    this.#budgets.show(budgets);
    byId('budgets-empty').hidden = budgets.length > 0;
    const used = memory.prepared_bytes + memory.heads_bytes + memory.outgoing_bytes;
    facts('people', [
      ['Live now', `${count(clients.live)} of ${count(limits.max_clients)}`],
      ['Behind now', count(clients.behind)],
      ['Were slow', `${count(clients.slow)} times, ${count(clients.gone_slow)} were let go`],
      ['Were told of a gap', count(clients.gaps)],
      ['Connections', `${count(clients.connections_open)} open, ${count(clients.connections)} ever`],
      ['Refused', Object.entries(clients.refused).map(([why, number]) => `${why} ${count(number)}`).join(', ') || 'nobody'],
      ['Left', Object.entries(clients.gone).map(([why, number]) => `${why} ${count(number)}`).join(', ') || 'nobody'],
    ]);
    facts('machine', [
      ['In RAM', bytes(memory.rss_bytes)],
      ['Answers and messages', `${bytes(used)} of a budget of ${bytes(limits.memory_budget)}`],
      ['State file', snapshot.path ? `${bytes(snapshot.bytes)}, ${snapshot.path}` : 'none is configured'],
      ['Saves', `${count(snapshot.saves)}, ${count(snapshot.failures)} failed${snapshot.error ? `: ${snapshot.error}` : ''}`],
      ['Journal since then', `${bytes(snapshot.journal_bytes)} of ${bytes(limits.journal_bytes)}${snapshot.journal_error ? `, ${snapshot.journal_error}` : ''}`],
      ['Longest hold of the loop', `${loop.recent_hold_ms} ms lately, ${loop.longest_hold_ms} ms ever, by ${loop.longest_hold_task || 'nobody'}`],
    ]);
    this.#drawGaps();
  }

  #drawGaps() {
    if (!this.#heard) return;
    const now = this.client.now();
    /** @param {Iterable<[string, any]>} outages */
    const sorted = (outages) => [...outages].sort(([, a], [, b]) => b.from_ms - a.from_ms).slice(0, GAPS);
    this.#outages = new Map(sorted(this.#outages));
    const own = [...this.#way.outages].map(([key, outage]) => /** @type {[string, any]} */ ([`own ${key}`, outage]));
    const newest = sorted([...this.#outages, ...own]);
    this.#gaps.show(
      newest.map(([name, outage]) => ({ ...outage, name, when: moment(outage.from_ms, now), length_ms: (outage.to_ms ?? now) - outage.from_ms, fate: fateOf(outage) })),
    );
    byId('gaps-empty').hidden = newest.length > 0;
  }
}

/** @param {string} tone @param {string} glyph @param {string} words */
function health(tone, glyph, words) {
  fill(byId('health'), h('span', { class: `state ${tone}` }, h('span', { class: 'glyph', 'aria-hidden': 'true' }, glyph), words));
}

/** @param {number | null | undefined} ms @param {string} otherwise */
function ago(ms, otherwise) {
  return ms === null || ms === undefined ? otherwise : `${span(ms)} ago`;
}

/** Names and what is said of them. @param {string} id @param {[string, string][]} rows */
function facts(id, rows) {
  const list = byId(id);
  if (list.children.length !== rows.length) fill(list, ...rows.map(([name]) => h('div', {}, h('dt', {}, name), h('dd'))));
  rows.forEach(([, words], index) => write(/** @type {HTMLElement} */ (list.children[index].lastElementChild), words));
}

Object.assign(window, { flowdOperate: new OperatePage() });
