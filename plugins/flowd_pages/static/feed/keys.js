/**
 * Pointer and keyboard on a feed's table.
 *
 * @module feed/keys
 */

/** @typedef {import('./model.js').Row} Row */
/** @typedef {import('./table.js').Table} Table */
/** @typedef {import('./controls.js').Holding} Holding */

/**
 * Rows by arrows, Page Up and Down, Home and End; Enter opens the row's link; Escape lets go.
 *
 * @param {Table} table
 * @param {{draw: () => void, resume: () => void, chosen: (on: boolean) => void}} page `chosen`: whether a row is
 */
export function rowKeys(table, { draw, resume, chosen }) {
  const { grid } = table;
  /** @type {Record<string, () => number>} */
  const moves = {
    ArrowDown: () => table.active + 1,
    ArrowUp: () => table.active - 1,
    PageDown: () => table.active + table.page,
    PageUp: () => table.active - table.page,
    Home: () => 0,
    End: () => table.feed.size - 1,
  };
  grid.addEventListener('keydown', (event) => {
    if (event.target !== grid) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = moves[event.key];
    if (move && table.feed.size > 0) {
      event.preventDefault();
      chosen(true);
      table.go(move());
      draw();
    } else if (event.key === 'Enter' && table.active >= 0) table.open();
    else if (event.key === 'Escape') resume();
  });
  grid.addEventListener('blur', () => {
    table.active = -1;
    chosen(false);
    draw();
  });
}

/**
 * A row of several fills opens to them and closes again: by a click, or by the right and left arrows.
 *
 * @param {Table} table
 * @param {(row: Row) => boolean} toggle whether there was anything to open
 * @param {() => void} draw
 */
export function folding(table, toggle, draw) {
  const { grid, body } = table;
  body.addEventListener('click', (event) => {
    if (event.target instanceof Element && event.target.closest('a')) return;
    const row = table.rowOf(event.target);
    if (row && toggle(row)) draw();
  });
  grid.addEventListener('keydown', (event) => {
    const wanted = { ArrowRight: true, ArrowLeft: false }[event.key];
    const row = table.feed.at(table.active);
    if (wanted === undefined || !row || event.target !== grid) return;
    event.preventDefault();
    if ((row.parent ?? row).open === wanted) return;
    const parent = row.parent;
    if (!toggle(row)) return;
    draw();
    // The row that the keyboard was on is there no more: its whole is.
    if (parent) table.active -= 1 + (parent.parts ?? []).indexOf(row);
  });
}

/**
 * Rows by keys as above; also Space or P pauses; so does the pointer, and who reads older rows.
 *
 * @param {Table} table
 * @param {Holding} holding
 * @param {{draw: () => void, resume: () => void}} page
 */
export function keys(table, holding, { draw, resume }) {
  const { grid } = table;
  rowKeys(table, { draw, resume, chosen: (on) => holding.set('keyboard', on) });
  grid.addEventListener('pointerenter', (event) => event.pointerType === 'mouse' && holding.set('pointer', true));
  grid.addEventListener('pointerleave', () => holding.set('pointer', false));
  grid.addEventListener('scroll', () => holding.set('scroll', !table.atTop), { passive: true });
  document.addEventListener('keydown', (event) => {
    const space = event.key === ' ';
    if (!(space || event.key === 'p' || event.key === 'P') || event.repeat) return;
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target, space)) return;
    event.preventDefault();
    if (holding.has('key') || holding.has('keyboard') || holding.has('scroll')) resume();
    else holding.set('key', true);
  });
}

/** Whether a key means something where it was pressed. @param {EventTarget | null} target @param {boolean} space */
function typing(target, space) {
  if (!(target instanceof HTMLElement)) return false;
  return target.closest(space ? 'input, textarea, select, button, a, summary' : 'input, textarea, select') !== null;
}
