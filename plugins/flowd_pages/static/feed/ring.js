/**
 * The newest so many things, in memory that never grows.
 *
 * @module feed/ring
 */

/**
 * Oldest first out. Adding moves nothing: the place of the oldest is taken by the newest.
 *
 * @template T
 */
export class Ring {
  /** @type {(T | undefined)[]} */
  #slots;
  #next = 0;
  /** How many there are. */
  size = 0;

  /** @param {number} capacity */
  constructor(capacity) {
    this.#slots = new Array(capacity).fill(undefined);
  }

  /** Add the newest. @param {T} item @returns {T | undefined} the oldest, if it had to go */
  push(item) {
    const slots = this.#slots;
    const dropped = slots[this.#next];
    slots[this.#next] = item;
    this.#next = (this.#next + 1) % slots.length;
    if (this.size < slots.length) this.size++;
    return dropped;
  }

  /** Let the oldest go. @returns {T | undefined} */
  shift() {
    if (this.size === 0) return undefined;
    const at = this.#at(this.size - 1);
    const item = this.#slots[at];
    this.#slots[at] = undefined;
    this.size--;
    return item;
  }

  /** 0 is the newest. @param {number} index @returns {T | undefined} */
  get(index) {
    return index >= 0 && index < this.size ? this.#slots[this.#at(index)] : undefined;
  }

  clear() {
    this.#slots.fill(undefined);
    this.#next = this.size = 0;
  }

  /** Oldest first. @returns {Generator<T>} */
  *[Symbol.iterator]() {
    for (let index = this.size - 1; index >= 0; index--) yield /** @type {T} */ (this.#slots[this.#at(index)]);
  }

  /** @param {number} index */
  #at(index) {
    return (this.#next - 1 - index + this.#slots.length) % this.#slots.length;
  }
}
