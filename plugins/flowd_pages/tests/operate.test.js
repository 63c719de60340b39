import assert from 'node:assert/strict';
import { test } from 'node:test';

import { addressOf, behindOf, bytes, fateOf, lagOf, peerState, placeOf, points, processState, stateOf, troubleOf, verdictOf } from '../static/operate/words.js';

const RUNS = { table: 'sources', state: 'running', delivering: true, problem: null, overtaken: null, loop_held_s: null, error: null };

test('a component that runs and delivers is well, and everything else is not', () => {
  assert.deepEqual(stateOf(RUNS), { glyph: '●', tone: 'good', word: 'delivering' });
  assert.equal(stateOf({ ...RUNS, delivering: null }).word, 'running');
  assert.equal(stateOf({ ...RUNS, delivering: false, connected: true }).word, 'silent');
  assert.equal(stateOf({ ...RUNS, delivering: false, connected: false }).word, 'connecting');
  assert.equal(stateOf({ ...RUNS, state: 'failed' }).tone, 'bad');
  assert.equal(stateOf({ ...RUNS, state: 'backoff' }).tone, 'waiting');
  for (const wrong of [{ problem: 'late' }, { overtaken: 'missed 9' }, { loop_held_s: 1.5 }]) assert.equal(stateOf({ ...RUNS, ...wrong }).tone, 'waiting');
});

test('the last error stays in sight when a component is well again, and is told as the last', () => {
  assert.equal(troubleOf(RUNS), '');
  assert.equal(troubleOf({ ...RUNS, error: 'refused' }), 'last: refused');
  assert.equal(troubleOf({ ...RUNS, state: 'backoff', error: 'refused', retry_in_s: 4 }), 'refused Again in 4 s.');
  assert.equal(troubleOf({ ...RUNS, error: 'refused', problem: 'data comes 9s late' }), 'data comes 9s late');
});

test('lag and what is behind are told only of whom they mean something', () => {
  assert.deepEqual([lagOf({ lag_ms: null }), lagOf({ lag_ms: 56 }), lagOf({ lag_ms: -3 }), lagOf({ lag_ms: 61_000 })], ['–', '56 ms', '0 ms', '1 min']);
  assert.equal(behindOf({ table: 'sources', behind: 0 }), '–');
  assert.equal(behindOf({ table: 'transforms', behind: 1500, behind_max: 200_000 }), '1,500 of 200,000');
  assert.equal(behindOf({ table: 'sinks', behind: 0, behind_max: null }), '0');
});

test('another daemon is well while it is heard of and says so', () => {
  const peer = { healthy: true, age_ms: 1200, addresses: ['http://edge-1:4200/'], host: 'edge-1', pid: 7 };
  assert.equal(peerState(peer).tone, 'good');
  assert.equal(peerState({ ...peer, healthy: false }).word, 'not all works');
  assert.deepEqual(peerState({ ...peer, age_ms: 6001 }), { glyph: '✕', tone: 'bad', word: 'silent' });
  assert.equal(addressOf(peer), 'edge-1:4200');
  assert.equal(addressOf({ ...peer, addresses: [] }), 'edge-1, process 7');
});

test('a process is well when it runs, answers and all in it works', () => {
  const row = { name: 'edge-1', state: 'running', healthy: true, role: 'edge' };
  assert.deepEqual(processState(row), { glyph: '●', tone: 'good', word: 'running' });
  assert.equal(processState({ ...row, healthy: false }).word, 'not all works');
  assert.deepEqual(processState({ ...row, healthy: false, role: undefined }), { glyph: '✕', tone: 'bad', word: 'does not answer' });
  assert.equal(processState({ name: 'server', state: 'running', healthy: true }).tone, 'good', 'a server is not asked');
  assert.deepEqual(processState({ ...row, state: 'starting', healthy: false }), { glyph: '◐', tone: 'waiting', word: 'starting' });
  assert.equal(processState({ ...row, state: 'backoff', healthy: false }).tone, 'bad');
});

test('in a few words it says what does not work', () => {
  const edge = { name: 'edge-1', state: 'running', healthy: true, role: 'edge' };
  const unwell = { ...edge, healthy: false };
  const away = { ...unwell, state: 'backoff' };
  const status = { healthy: false, components: [RUNS], snapshot: {} };
  assert.equal(verdictOf({ ...status, healthy: true }), 'All works');
  assert.equal(verdictOf({ ...status, components: [{ ...RUNS, state: 'failed' }] }), '1 not working');
  assert.equal(verdictOf({ ...status, snapshot: { error: 'the disk is full' } }), 'State is not kept');
  assert.equal(verdictOf({ ...status, processes: [edge, unwell] }), 'Not all works at edge-1');
  assert.equal(verdictOf({ ...status, components: [{ ...RUNS, state: 'failed' }], processes: [away] }), '1 process not working');
  assert.equal(verdictOf({ ...status, processes: [away, { ...away, name: 'edge-2' }] }), '2 processes not working');
  assert.equal(verdictOf({ ...status, pair: { problem: 'the lease ran out' } }), 'Not all works');
});

test('it says in a sentence what this daemon is among others', () => {
  assert.equal(placeOf({ role: 'edge', lag_ms: 12 }), 'This daemon is an edge, 12 ms behind.');
  assert.equal(placeOf({ role: 'edge+leader', lag_ms: null }), 'This daemon is an edge and a leader.');
});

test('of a gap it says what became of what was told meanwhile', () => {
  assert.deepEqual(fateOf({ to_ms: null, recovered: null }), { tone: 'bad', text: 'still open' });
  assert.equal(fateOf({ to_ms: 5, recovered: null }).text, 'lost: nothing came later');
  assert.equal(fateOf({ to_ms: 5, recovered: 0 }).text, 'nothing was missed');
  assert.equal(fateOf({ to_ms: 5, recovered: 1 }).text, '1 record came later');
  assert.equal(fateOf({ to_ms: 5, recovered: 1234 }).text, '1,234 records came later');
});

test('bytes are told in the unit that fits', () => {
  assert.deepEqual([0, 1023, 1024, 86_264, 98_607_104, 3 * 2 ** 30, null, 'x'].map(bytes), ['0 B', '1023 B', '1.0 KiB', '84.2 KiB', '94.0 MiB', '3.0 GiB', '–', '–']);
});

test('a small line ends at the right with the newest, and its highest point is the most', () => {
  assert.equal(points([], 72, 18, 10), '');
  assert.equal(points([0, 5, 10], 90, 18, 10), '70,17 80,9 90,1');
  assert.equal(points([0, 0], 90, 18, 10), '80,17 90,17');
});
