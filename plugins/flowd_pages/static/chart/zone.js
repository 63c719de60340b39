/**
 * The time zone that the chart shows times in: UTC, the reader's own, or a named one. Days stay those of UTC, as the daemon counts.
 *
 * @module chart/zone
 */

import { remember, remembered } from '../dom.js';
import { stamp } from '../format.js';

const QUARTER_MS = 900_000;

/** How far a zone is from UTC at any time. No zone changes within a quarter of an hour. */
export class Zone {
  /** @type {Map<number, number>} */
  #offsets = new Map();

  /** RangeError where the browser knows no such zone. @param {string} name `UTC`, or such as `Europe/Berlin` */
  constructor(name) {
    this.name = name;
    this.format = new Intl.DateTimeFormat('en-GB', {
      timeZone: name,
      hourCycle: 'h23',
      ...{ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' },
    });
  }

  /** Its clock's time, as if that were UTC: what functions that write UTC are to be given. @param {number} ms */
  shift(ms) {
    if (this.name === 'UTC') return ms;
    const quarter = Math.floor(ms / QUARTER_MS);
    let offset = this.#offsets.get(quarter);
    if (offset === undefined) {
      /** @type {Record<string, number>} */
      const at = {};
      for (const { type, value } of this.format.formatToParts(quarter * QUARTER_MS)) at[type] = Number(value);
      offset = Date.UTC(at.year, at.month - 1, at.day, at.hour, at.minute) - quarter * QUARTER_MS;
      if (this.#offsets.size > 20_000) this.#offsets.clear();
      this.#offsets.set(quarter, offset);
    }
    return ms + offset;
  }

  /** `UTC`, `UTC+1`, `UTC−3:30`. @param {number} ms */
  label(ms) {
    const minutes = Math.round((this.shift(ms) - ms) / 60_000);
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
    return minutes === 0 ? 'UTC' : `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${String(rest).padStart(2, '0')}` : ''}`;
  }
}

/** The zone of the reader's machine. */
export const local = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The zone of this name, or UTC where the browser does not know it. @param {string} name */
function zoneOf(name) {
  try {
    return new Zone(name === 'local' ? local() : name);
  } catch {
    return new Zone('UTC');
  }
}

let chosen = remembered('zone') ?? 'UTC';
let zone = zoneOf(chosen);

/** The zone that times are shown in. */
export const current = () => zone;

/** What was chosen: `UTC`, `local` or a name. */
export const choice = () => chosen;

/** Show times in another zone from now on. @param {string} name `UTC`, `local` or a name */
export function choose(name) {
  chosen = name;
  zone = zoneOf(name);
  remember('zone', name);
}

/** Put the zones into a list: the two that are wanted most, and all others once somebody looks. @param {HTMLSelectElement} select @param {() => void} changed */
export function zoneList(select, changed) {
  /** @param {string} value @param {string} label */
  const add = (value, label) => select.add(new Option(label, value, false, value === chosen));
  add('UTC', 'UTC');
  add('local', `Local (${local()})`);
  if (!['UTC', 'local'].includes(chosen)) add(chosen, chosen);
  const more = () => {
    for (const name of Intl.supportedValuesOf('timeZone')) if (name !== chosen) add(name, name);
  };
  for (const event of ['focus', 'pointerdown']) select.addEventListener(event, () => select.length < 10 && more());
  select.addEventListener('change', () => {
    choose(select.value);
    changed();
  });
}

/** How much a time stands out on the axis, by the chart library's measure. @param {number} at ms, of the zone's clock @param {number} before */
function weight(at, before) {
  const [now, then] = [new Date(at), new Date(before)];
  if (now.getUTCFullYear() !== then.getUTCFullYear()) return 70;
  if (now.getUTCMonth() !== then.getUTCMonth()) return 60;
  if (now.getUTCDate() !== then.getUTCDate()) return 50;
  const steps = /** @type {const} */ ([[720, 33], [360, 32], [180, 31], [60, 30], [30, 22], [5, 21], [1, 20]]);
  return steps.find(([minutes]) => Math.floor(at / (minutes * 60_000)) !== Math.floor(before / (minutes * 60_000)))?.[1] ?? 0;
}

/**
 * The library's time scale with days, hours and quarters as the zone's clock has them.
 *
 * @param {typeof import('lightweight-charts')} library
 * @param {() => boolean} daily whether bars are whole days, which are UTC's
 */
export function zonedScale(library, daily) {
  const scale = new (library.defaultHorzScaleBehavior())();
  const plain = scale.fillWeightsForPoints.bind(scale);
  scale.fillWeightsForPoints = (points, start) => {
    if (zone.name === 'UTC' || daily() || points.length === 0) {
      plain(points, start);
      return;
    }
    const clock = (/** @type {number} */ index) => zone.shift(Number(scale.key(points[index].time)) * 1000);
    for (let index = start; index < points.length; index++) {
      const at = clock(index);
      points[index].timeWeight = /** @type {any} */ (weight(at, index > 0 ? clock(index - 1) : at - 1));
    }
  };
  return scale;
}

/** What stands below the axis: the year, the month, the day or the time. @param {number} ms of the zone's clock @param {number} type the library's TickMarkType */
export function tick(ms, type) {
  const at = new Date(ms);
  if (type === 0) return String(at.getUTCFullYear());
  const date = stamp(ms);
  if (type === 1) return date.split(' ')[1];
  return type === 2 ? String(at.getUTCDate()) : date.split(' ')[2];
}

/** A bar's time with its zone, for the crosshair. @param {number} ms @param {boolean} daily */
export function barTime(ms, daily) {
  return daily ? `${stamp(ms, true)} UTC` : `${stamp(zone.shift(ms))} ${zone.label(ms)}`;
}
