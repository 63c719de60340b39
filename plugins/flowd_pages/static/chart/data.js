/**
 * What this daemon has for a chart, and its history.
 *
 * @module chart/data
 */

import { at } from '../dom.js';

/**
 * @typedef {object} Sources
 * @property {string | null} orders the stream of forced orders, the first where there are several
 * @property {string[]} tapes all of them, one of each venue
 * @property {boolean} sampled whether one of them tells only some
 * @property {boolean} approximate whether one of them tells other prices than were paid
 * @property {string | null} volume the table of buckets
 * @property {string[]} candles of what was configured
 * @property {string[]} asked the streams of candles that are there because somebody asked
 * @property {string[]} instruments the streams that say what venues list
 * @property {boolean} outages whether outages are told
 * @property {boolean} serves whether the history of candles is served by the sink that is made for it
 * @property {boolean} polls whether streams can be asked for
 */

/** Whose orders come first, where several venues tell theirs. */
const FIRST = 'binance-force-order';
/** How the streams are called of what a source follows because somebody asked. */
const ASKED = '.asked';
/** Of which venues only some orders are told, and of which prices that were not paid. */
const SAMPLED = ['binance-force-order', 'okx-liquidations'];
const APPROXIMATE = ['bybit-liquidations'];

/** Which of a daemon's streams are which. @param {any} status what `/status` says @returns {Sources} */
export function sources(status) {
  // By what writes them, here or at the daemon that this one has them from.
  /** @type {{name: string, record: string, kind: string}[]} */
  const streams = status?.streams ?? [];
  /** @param {string} record */
  const carrying = (record) => streams.filter((stream) => stream.record === record).map((stream) => stream.name);
  const isFirst = (/** @type {string} */ name) => Number(streams.some((stream) => stream.name === name && stream.kind === FIRST));
  const tapes = carrying('Liquidation').sort((a, b) => isFirst(b) - isFirst(a));
  /** @param {string[]} kinds */
  const any = (kinds) => streams.some((stream) => kinds.includes(stream.kind) && tapes.includes(stream.name));
  return {
    orders: tapes[0] ?? null,
    tapes,
    sampled: any(SAMPLED),
    approximate: any(APPROXIMATE),
    volume: carrying('Bucket')[0] ?? null,
    candles: carrying('Candle').filter((name) => !name.endsWith(ASKED)),
    asked: carrying('Candle').filter((name) => name.endsWith(ASKED)),
    instruments: carrying('Instrument'),
    outages: streams.some((stream) => stream.name === 'outages'),
    serves: live(status, 'candles'),
    polls: live(status, 'http'),
  };
}

/** Whether a daemon has what pages get live records from. @param {any} status what `/status` says @param {string} kind of sink */
export function live(status, kind = 'websocket') {
  return (status?.components ?? []).some((/** @type {any} */ part) => part?.table === 'sinks' && part.kind === kind);
}

/** Why a request failed: `status` is 0 when there was no answer, `allowed` what would have been right. */
export class RequestError extends Error {
  /** @param {string} message @param {number} status @param {string} [code] @param {unknown} [allowed] */
  constructor(message, status, code = '', allowed = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.allowed = Array.isArray(allowed) ? allowed.map(String) : [];
  }
}

/**
 * Ask the daemon; RequestError says in its own words what was wrong.
 *
 * @param {string} path one of this daemon's, wherever a proxy has it
 * @param {Record<string, string | number | undefined>} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(path, query = {}, signal) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  let answer;
  try {
    answer = await fetch(`${at(path)}?${parameters}`, { signal, headers: { Accept: 'application/json' } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError('the daemon does not answer', 0);
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const mistake = body?.error ?? {};
  throw new RequestError(String(mistake.message ?? `the daemon answered ${answer.status}`), answer.status, String(mistake.code ?? ''), mistake.allowed);
}

/** @param {string} symbol @param {string} frame @param {number} start ms @param {number} end ms @param {AbortSignal} [signal] */
export function volumeHistory(symbol, frame, start, end, signal) {
  return ask(`/api/v1/liquidation-volume/${encodeURIComponent(symbol)}/${frame}`, { start, end }, signal);
}

/** The first candles from `start` on, the newest without it. @param {string} symbol @param {string} frame @param {number | undefined} start ms @param {number} end ms @param {AbortSignal} [signal] */
export function candleHistory(symbol, frame, start, end, signal) {
  return ask(`/api/v1/candles/${encodeURIComponent(symbol)}/${frame}`, { start, end, limit: 1500 }, signal);
}

/**
 * Which timeframes of volume there are; none when that cannot be learnt.
 *
 * @param {string} volume the table of buckets
 * @param {string} symbol
 * @returns {Promise<string[]>}
 */
export async function volumeFrames(volume, symbol) {
  try {
    const { records } = await ask(`/streams/${encodeURIComponent(`${volume}.timeframes`)}`);
    return records.at(-1).value.timeframes.map(String);
  } catch {
    // Streams need not be served; then the history says it to who asks for what cannot be.
    return refusal(volumeHistory(symbol, '-', 0, 1), 'BAD_TIMEFRAME');
  }
}

/**
 * Which intervals of candles there are of a symbol, also those that are built of narrower ones; null when that cannot be
 * learnt without asking for what is not there.
 *
 * @param {Sources} sources
 * @param {string} symbol
 * @param {boolean} [onDemand] whether to have it fetched, where nobody has it
 * @param {(why: string) => void} [unlisted] told why it cannot be fetched, where no exchange lists it
 * @returns {Promise<string[] | null>}
 */
export async function intervals({ candles, polls, serves }, symbol, onDemand = false, unlisted = () => undefined) {
  if (serves) {
    const index = await ask('/api/v1/candles', onDemand ? { symbol } : {}).catch(() => null);
    /** @type {{interval: string, stored: string[], built: string[]}[] | undefined} */
    const offered = index?.intervals;
    if (offered) {
      const there = offered.filter(({ stored, built }) => stored.includes(symbol) || built.includes(symbol)).map(({ interval }) => String(interval));
      if (there.length === 0 && index.on_demand?.unlisted) unlisted(String(index.on_demand.unlisted));
      const further = onDemand ? (index.on_demand?.intervals ?? []).map(String) : [];
      return [...new Set([...there, ...further])];
    }
  }
  if (!polls) return null;
  try {
    const newest = await Promise.all(candles.map((name) => ask(`/streams/${encodeURIComponent(name)}`, { symbol, limit: 1 })));
    const found = [...new Set(newest.flatMap(({ records }) => records.map((/** @type {any} */ one) => String(one.value.interval))))];
    if (found.length > 0 || serves) return found;
    // Where nobody has any, what is asked for may be told what is to be configured.
    const any = await Promise.all(candles.map((name) => ask(`/streams/${encodeURIComponent(name)}`, { limit: 1 })));
    return any.some(({ records }) => records.length > 0) ? [] : null;
  } catch {
    return null;
  }
}

/** What a request that cannot be is told to ask for instead. @param {Promise<unknown>} asked @param {string} code @returns {Promise<string[]>} */
async function refusal(asked, code) {
  try {
    await asked;
  } catch (error) {
    if (error instanceof RequestError && error.code === code) return error.allowed;
  }
  return [];
}

/** The exchange's own smallest difference of two prices of a symbol; null where nobody says. @param {Sources} sources @param {string} symbol @returns {Promise<string | null>} */
export async function tickOf({ instruments, polls }, symbol) {
  if (!polls) return null;
  try {
    const told = await Promise.all(instruments.map((name) => ask(`/streams/${encodeURIComponent(name)}`, { symbol, limit: 20 })));
    const found = told.flatMap(({ records }) => records.map((/** @type {any} */ one) => one.value)).filter(({ tick }) => tick !== null && tick !== undefined);
    return String((found.find(({ venue }) => venue === 'binance') ?? found[0])?.tick ?? '') || null;
  } catch {
    return null;
  }
}

/** The symbols that venues list. @param {Sources} sources @returns {Promise<string[]>} */
async function listed({ instruments, polls }) {
  if (!polls) return [];
  const told = await Promise.all(instruments.map((name) => ask(`/streams/${encodeURIComponent(name)}`, { limit: 1000 }).catch(() => ({ records: [] }))));
  return [...new Set(told.flatMap(({ records }) => records.map((/** @type {any} */ one) => String(one.value.symbol))))].sort();
}

/**
 * The symbols there are, the busiest today first, and after them those that venues list.
 *
 * @param {Sources} sources
 * @returns {Promise<{symbol: string, total: number}[]>}
 */
export async function symbols(sources) {
  const [active, all] = await Promise.all([busy(sources), listed(sources)]);
  const known = new Set(active.map(({ symbol }) => symbol));
  return [...active, ...all.filter((symbol) => !known.has(symbol)).map((symbol) => ({ symbol, total: 0 }))];
}

/**
 * The symbols of which something was liquidated, the busiest today first.
 *
 * @param {Sources} sources
 * @returns {Promise<{symbol: string, total: number}[]>}
 */
async function busy(sources) {
  if (sources.volume) {
    const today = await ask(`/streams/${encodeURIComponent(sources.volume)}`, { timeframe: '1d', limit: 500 });
    const found = busiest(today.records);
    if (found.length) return found;
  }
  const newest = await Promise.all(sources.tapes.map((name) => ask(`/streams/${encodeURIComponent(name)}`, { limit: 1000 })));
  const totals = new Map();
  for (const { value } of newest.flatMap(({ records }) => records)) {
    totals.set(String(value.symbol), (totals.get(String(value.symbol)) ?? 0) + Number(value.notional));
  }
  return [...totals].map(([symbol, total]) => ({ symbol, total })).sort((a, b) => b.total - a.total);
}

/** Each symbol's newest day, the largest first. @param {any[]} records */
export function busiest(records) {
  /** @type {Map<string, any>} */
  const newest = new Map();
  for (const { value } of records) {
    const known = newest.get(String(value.symbol));
    if (!known || known.time_ms <= value.time_ms) newest.set(String(value.symbol), value);
  }
  const day = Math.max(0, ...[...newest.values()].map((value) => value.time_ms));
  return [...newest.values()]
    .map((value) => ({ symbol: String(value.symbol), total: value.time_ms === day ? Number(value.buy) + Number(value.sell) : 0 }))
    .sort((a, b) => b.total - a.total || (a.symbol < b.symbol ? -1 : 1));
}
