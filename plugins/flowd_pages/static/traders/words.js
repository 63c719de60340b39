/**
 * Which lines of configuration the pages of traders lack.
 *
 * @module traders/words
 */

import { tomlKey } from '../feed/words.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */
/** @typedef {{traders: string, positions: string, leaderboard: string}} Names */

/** What keeps an address that somebody looks at fresh. */
export const API_LINES = '[sinks.traders-api]\nkind = "traders-http"';

/**
 * The lines that add a stream, and those before it that are not there either.
 *
 * @param {'positions' | 'leaderboard'} wanted
 * @param {Names} names
 * @param {Mistake} mistake which says what is there
 */
export function missingLines(wanted, names, mistake) {
  const there = Array.isArray(mistake.allowed) ? mistake.allowed : [];
  const lines = [];
  if (!there.includes(names.traders)) lines.push(`[sources.${tomlKey(names.traders)}]\nkind = "hyperliquid-discovery"\ncoins = ["BTC", "ETH", "SOL"]`);
  if (!there.includes(names.positions)) lines.push(`[transforms.${tomlKey(names.positions)}]\nkind = "hyperliquid-tracking"\ninput = ${JSON.stringify(names.traders)}`);
  if (wanted === 'leaderboard') lines.push(`[transforms.${tomlKey(names.leaderboard)}]\nkind = "leaderboard"\npositions = ${JSON.stringify(names.positions)}`);
  return lines.join('\n\n');
}
